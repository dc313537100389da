"""The catalogue of desync forms: every family, each form once. Their sources are named where they are made."""

import desync_chunks as chunks
import desync_claims as claims
import desync_framing as framing
import desync_heads as heads
import desync_sequences as sequences
from desync_parts import Form

FORMS: list[Form] = [
    *framing.length_and_coding(),
    *framing.coding_names(),
    *framing.coding_fields(),
    *framing.lengths(),
    *chunks.sizes(),
    *chunks.extensions(),
    *chunks.line_ends(),
    *chunks.trailers(),
    *chunks.streamed(),
    *heads.lines(),
    *heads.fields(),
    *claims.hosts(),
    *claims.connections(),
    *claims.spoofs(),
    *sequences.pipelines(),
    *sequences.expectations(),
    *sequences.upgrades(),
]
FAMILIES = list(dict.fromkeys(form.family for form in FORMS))
