"""What is frozen in git before the test half is opened: definitions by digest, the choices, and who is the rival where.

The test refuses to run when families, settings or policies are others than when it was frozen, and when the test half
was opened before. Knows no clock: who opens it names the day.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib import resources
from pathlib import Path

from msgspec import Struct, json
from msgspec.structs import replace

from stoker.errors import StokerError
from stoker.policies.queueing.registry import POLICIES
from stoker_sim.scenario import PolicyChoice
from stoker_sim.sources.units import as_written, decode_unit
from stoker_sim.study.families import FAMILIES
from stoker_sim.study.family import described
from stoker_sim.study.halves import Half
from stoker_sim.study.runs import Job, play
from stoker_sim.study.settings import ABLATIONS, OURS, Ablation, published, settings_of
from stoker_sim.study.tuning import Tuned, chosen, chosen_jointly

REPLICATIONS = 24
"""Of the test."""
FILE = Path(str(resources.files("stoker_sim"))) / "study" / "frozen.json"


class NotFrozen(StokerError):  # noqa: N818  the name states the fact
    """The test half may not be opened. The text says why."""


class Opening(Struct, frozen=True):
    """The test half was opened."""

    on: str
    """The day, as in 2026-12-01."""
    why: str


class Frozen(Struct, frozen=True, kw_only=True):
    """See the module."""

    definitions: str
    """Digest of families, settings and ablations."""
    behaviour: str
    """Digest of what the frozen choices do on the tuning half: a policy that was changed since does something else."""
    ours: PolicyChoice
    published: dict[str, dict[str, PolicyChoice]]
    """By family, then policy."""
    rivals: dict[str, str]
    """By family: the policy that was best on the tuning half."""
    tuned: dict[str, dict[str, float]]
    """Attainment on the tuning half with these choices, by family, then policy."""
    opened: tuple[Opening, ...] = ()

    def choices(self, family: str, *, everybody: bool = False) -> tuple[PolicyChoice, ...]:
        """Ours, its rival, ours without each part; or all published ones instead of the rival."""
        theirs = self.published[family]
        names = theirs if everybody else (self.rivals[family],)
        return (
            replace(self.ours, name=OURS),
            *(replace(theirs[name], name=name) for name in names),
            *(ablation.applied(self.ours) for ablation in ABLATIONS),
        )


def definitions(families: Sequence[str], ablations: Sequence[Ablation] = ABLATIONS) -> str:
    """The digest of what is judged on, and of what could be chosen."""
    digest = blake2b(digest_size=16)
    for family in families:
        digest.update(described(FAMILIES[family], REPLICATIONS))
    settings = {name: settings_of(name) for name in sorted(POLICIES)}
    digest.update(json.encode((as_written(settings), as_written(tuple(ablations)))))
    return digest.hexdigest()


def behaviour(frozen: Frozen) -> str:
    """Of every choice on the first point of the first replication of the tuning half."""
    digest = blake2b(digest_size=16)
    for family in frozen.rivals:
        choices = frozen.choices(family)
        rows = play(Job(family=family, half=Half.TUNING, replication=0, point=0, choices=choices))
        digest.update(json.encode(rows))
    return digest.hexdigest()


def froze(parts: Sequence[Tuned]) -> Frozen:
    """The choices of these tunings. Raises NotFrozen where some are missing."""
    families = [family for family in FAMILIES if any(part.family == family for part in parts)]
    by_name = {(part.family, part.policy): part for part in parts}
    missing = [f"{p} in {f}" for f in families for p in (*published(), OURS) if (f, p) not in by_name]
    if missing:
        raise NotFrozen(f"these were not tuned: {', '.join(missing)}")
    label, our_means = chosen_jointly([by_name[family, OURS] for family in families])
    labelled = {choice.label: choice for name in (*published(), OURS) for choice in settings_of(name)}
    best = {family: {name: chosen(by_name[family, name]) for name in published()} for family in families}
    frozen = Frozen(
        definitions=definitions(families),
        behaviour="",
        ours=labelled[label],
        published={
            family: {name: labelled[told[0]] for name, told in theirs.items()} for family, theirs in best.items()
        },
        rivals={family: _rival(theirs, labelled) for family, theirs in best.items()},
        tuned={
            family: {OURS: our_means[family], **{name: told[1] for name, told in theirs.items()}}
            for family, theirs in best.items()
        },
    )
    return replace(frozen, behaviour=behaviour(frozen))


def _rival(theirs: Mapping[str, tuple[str, float]], labelled: Mapping[str, PolicyChoice]) -> str:
    """The best; of policies that come out the same (they can, by their constants) one with its published constants."""
    return max(theirs, key=lambda name: (theirs[name][1], not labelled[theirs[name][0]].tuning))


def after(made: Frozen, path: Path = FILE) -> Frozen:
    """The same, with what is told in the file that it will replace: a half that was opened stays opened."""
    return replace(made, opened=read(path).opened) if path.exists() else made


def check(frozen: Frozen, *, again: bool) -> None:
    """Raises NotFrozen unless the test half may be opened; `again`: although it was."""
    if frozen.opened and not again:
        days = ", ".join(opening.on for opening in frozen.opened)
        raise NotFrozen(f"the test half was opened before ({days}); it is opened once, unless you say --again")
    if definitions(tuple(frozen.rivals)) != frozen.definitions:
        raise NotFrozen("families, settings or ablations are not what was frozen; freeze again, before the test")
    if behaviour(frozen) != frozen.behaviour:
        raise NotFrozen("a policy does something else than when it was frozen; freeze again, before the test")


def read(path: Path = FILE) -> Frozen:
    """Raises NotFrozen."""
    try:
        return json.decode(path.read_bytes(), type=Frozen, dec_hook=decode_unit)
    except FileNotFoundError:
        raise NotFrozen(f"nothing is frozen: there is no {path.name}; tune, then freeze") from None


def write(frozen: Frozen, path: Path = FILE) -> None:
    """Byte for byte the same for the same choices."""
    path.write_bytes(json.format(json.encode(as_written(frozen)), indent=1) + b"\n")
