"""Models as functions: execution time by product, memory, start-up, interference; each figure with its source.

Trace functions become GPU functions by being given one of these (traces.mapping). What nobody published for a model
is assumed, and its source says so (`assumed: ...`); Profile.assumed() lists it for the report. It knows no trace.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker_sim.start_up import BERT, RESNET152, StartUp, phase_us
from stoker_sim.traces.files import data_file
from stoker_sim.traces.table import Table, numbers, read_table, texts
from stoker_sim.workload import Behaviour

ASSUMED = "assumed: "

_RESNET50_MIB, _BERT_LARGE_MIB = 449, 1621
"""Device memory on a V100 (kaas_isolated.csv, mode exclusive), context included."""


class Figure(Struct, frozen=True):
    """An integer with where it is from."""

    value: int
    source: str


class Profile(Struct, frozen=True, kw_only=True):
    name: str
    """A DNS label."""
    exec_us: dict[str, Figure]
    """Median of a whole request, warm and alone, by product. The first is the reference."""
    p99_over_p50: float
    """Spread on the reference product; 1 where it is not published or smaller than its own average."""
    memory_mib: Figure
    cold_us: Figure
    resume_us: Figure
    """From hibernated, swap included, on an idle bus."""
    swap_mib: Figure
    interference: str
    """Its class in Gavel's table: the training job of the nearest kind (assumed)."""

    def behaviour(self, products: Sequence[str]) -> Behaviour:
        """On these products, the first of them being the reference."""
        return Behaviour(
            exec_us={product: self.exec_us[product].value for product in products},
            cold_us=self.cold_us.value,
            resume_us=self.resume_us.value,
            swap_mib=self.swap_mib.value,
            interference=self.interference,
        )

    def figures(self) -> dict[str, Figure]:
        """All of them by name, as in `memory_mib` and `exec_us A100`."""
        return {
            **{f"exec_us {product}": figure for product, figure in self.exec_us.items()},
            "memory_mib": self.memory_mib,
            "cold_us": self.cold_us,
            "resume_us": self.resume_us,
            "swap_mib": self.swap_mib,
        }

    def assumed(self) -> tuple[str, ...]:
        """Names of the figures that nobody published."""
        return tuple(name for name, figure in self.figures().items() if figure.source.startswith(ASSUMED))


class _Model(Struct, frozen=True):
    """A model of NVIDIA's tables, and what is known of it beside them."""

    name: str
    model: str
    """Of the table, as `section` (a part of it), `precision` and `params` are."""
    section: str
    precision: str
    params: str
    batches: tuple[int, ...]
    kin: StartUp
    memory_mib: Figure
    weights_mib: int
    """Parameters, at four bytes each."""
    image_mib: int
    """More memory for each further item of a batch (assumed)."""
    interference: str


def _parameters(million: float) -> int:
    return round(million * 1e6 * 4 / 2**20)


def _beside(measured_mib: int, measured: str, million: float, of_million: float) -> Figure:
    """Memory of a model from that of a measured one: the parameters are the difference."""
    more = _parameters(million) - _parameters(of_million)
    return Figure(
        measured_mib + more, f"{ASSUMED}{measured} on a V100 ({measured_mib} MiB), {more:+} MiB of parameters"
    )


_RESNET = Figure(_RESNET50_MIB, "kaas_isolated.csv: resnet50, exclusive, V100")
_BERT = Figure(_BERT_LARGE_MIB, "kaas_isolated.csv: bert (large, sequence 384), exclusive, V100")
_SMALL = Figure(512, f"{ASSUMED}a CUDA context and a few MiB of parameters")
_UNET = Figure(3072, f"{ASSUMED}activations of a 3D U-Net on 128 x 128 x 128 voxels")
_CNN, _LM, _TABLE = "ResNet-50 (batch size 16)", "Transformer (batch size 16)", "Recommendation (batch size 512)"
_BERT_TF = "Fine-tuning inference performance for SQuAD"
_TRT, _TORCH = "NVIDIA TensorRT with FP16", "PyTorch with FP16, Dataset: traffic"

# Parameters in million: ResNet-50 25.6, ResNeXt101-32x4d 44.2, SE-ResNeXt101 49.0, BERT base 110 and large 340,
# TinyBERT with 4 layers 14.5 and with 6 layers 67, nnU-Net 31, TFT and Wide & Deep a few (their papers).
_MODELS = (
    _Model("bert-4l", "pt/LanguageModeling/BERT/triton/dist4l", _TRT, "FP16", "Concurrency=1", (1, 16), BERT,
           _beside(_BERT_LARGE_MIB, "BERT large", 14.5, 340), _parameters(14.5), 8, _LM),
    _Model("bert-6l", "pt/LanguageModeling/BERT/triton/dist6l", _TRT, "FP16", "Concurrency=1", (1, 16), BERT,
           _beside(_BERT_LARGE_MIB, "BERT large", 67, 340), _parameters(67), 8, _LM),
    _Model("bert-base", "tf/LanguageModeling/BERT", _BERT_TF, "fp32", "Model=base; Sequence Length=128; Precision=fp32",
           (1,), BERT, _beside(_BERT_LARGE_MIB, "BERT large", 110, 340), _parameters(110), 32, _LM),
    _Model("bert-large", "tf/LanguageModeling/BERT", _BERT_TF, "fp32",
           "Model=large; Sequence Length=384; Precision=fp32", (1, 4, 8), BERT, _BERT, _parameters(340), 64, _LM),
    _Model("resnet50", "tf/Classification/ConvNets/resnet50v1.5", "Inference performance", "Mixed Precision", "",
           (1, 8, 32, 128), RESNET152, _RESNET, _parameters(25.6), 16, _CNN),
    _Model("resnext101", "tf/Classification/ConvNets/resnext101-32x4d", "Inference performance", "Mixed Precision", "",
           (1, 16, 64), RESNET152, _beside(_RESNET50_MIB, "ResNet-50", 44.2, 25.6), _parameters(44.2), 24, _CNN),
    _Model("se-resnext101", "tf/Classification/ConvNets/se-resnext101-32x4d", "Inference performance",
           "Mixed Precision", "", (1, 16, 64), RESNET152, _beside(_RESNET50_MIB, "ResNet-50", 49.0, 25.6),
           _parameters(49.0), 24, _CNN),
    _Model("nnunet", "pt/Segmentation/nnUNet/triton", "Offline", "FP16", "Precision=FP16", (1,), RESNET152, _UNET,
           _parameters(31), 0, _CNN),
    _Model("tft", "pt/Forecasting/TFT/triton", _TORCH, "FP16", "Concurrency=1", (1, 256, 1024), RESNET152, _SMALL,
           _parameters(5), 0, _TABLE),
    _Model("wide-deep", "tf2/Recommendation/WideAndDeep/triton", _TRT, "FP16", "Concurrency=1", (1,), RESNET152, _SMALL,
           _parameters(5), 0, _TABLE),
)  # fmt: skip

_NVIDIA = "NVIDIA DeepLearningExamples, "


@cache
def catalogue(products: tuple[str, ...] = ("A100", "T4", "V100")) -> tuple[Profile, ...]:
    """The profiles that are measured on every one of the products, by execution time on the first of them.

    NVIDIA's inference tables: A100, T4, V100 (and A30 for a few).
    """
    table = _nvidia()
    found = [_profile(model, batch, table, products) for model in _MODELS for batch in model.batches]
    return tuple(
        sorted(
            (profile for profile in found if profile is not None),
            key=lambda profile: (profile.exec_us[products[0]].value, profile.name),
        )
    )


@cache
def small_gpu_catalogue() -> tuple[Profile, ...]:
    """Caffe and Darknet models on a Titan X (Pascal), with the memory that they really took: Nexus' profiles."""
    table = read_table(
        data_file("profiles/nexus_titanx_batch_latency.csv"),
        (*texts("model", "framework"), *numbers("batch", "latency_ms", "latency_std_ms", "gpu_mem_mib")),
    )
    names = table.texts["model"].cells()
    source = "Nexus profiles (SOSP'19), Titan X (Pascal), batch 1"
    cold = _cold(RESNET152)
    found = []
    for row in np.flatnonzero(table.numbers["batch"] == 1).tolist():
        memory = round(float(table.numbers["gpu_mem_mib"][row]))
        found.append(
            Profile(
                name=names[row].replace("_", "-"),
                exec_us={"TitanX": Figure(round(1000 * float(table.numbers["latency_ms"][row])), source)},
                p99_over_p50=1.0,
                memory_mib=Figure(memory, source),
                cold_us=cold,
                resume_us=_resume(RESNET152),
                swap_mib=Figure(memory, f"{ASSUMED}all of its memory"),
                interference=_CNN,
            )
        )
    return tuple(sorted(found, key=lambda profile: profile.exec_us["TitanX"].value))


@cache
def context_us() -> Figure:
    """What the CUDA context of a PyTorch function costs alone, the least that a cold start of a process can take."""
    return Figure(
        phase_us("streambox", "gpu_context_init", "mean"), "StreamBox (ATC'24), PyTorch ResNet50 on a 16 GB GPU, mean"
    )


def _nvidia() -> Table:
    latencies = (f"latency_{name}_ms" for name in ("avg", "p50", "p90", "p95", "p99"))
    return read_table(
        data_file("profiles/nvidia_dle_inference_latency.csv.gz"),
        (
            *texts("model", "section", "params", "gpu", "precision", "licence", "source_path", blank=True),
            *numbers("batch", whole=True),
            *numbers(*latencies, unit="milliseconds", blank=True),
            *numbers("throughput_per_s", blank=True),
        ),
    )


def _profile(model: _Model, batch: int, table: Table, products: tuple[str, ...]) -> Profile | None:
    rows = {product: _rows(table, model, batch, product) for product in products}
    if not all(len(found) for found in rows.values()):
        return None
    paths = table.texts["source_path"]
    exec_us = {
        product: Figure(
            round(1000 * float(np.median(_median_ms(table, found)))),
            f"{_NVIDIA}{paths.names[paths.codes[found[0]]]}, {model.precision}, batch {batch}",
        )
        for product, found in rows.items()
    }
    first = rows[products[0]]
    with np.errstate(invalid="ignore"):
        spread = table.numbers["latency_p99_ms"][first] / _median_ms(table, first)
    memory = model.memory_mib
    if batch > 1:
        more = (batch - 1) * model.image_mib
        memory = Figure(memory.value + more, f"{ASSUMED}batch 1 and {model.image_mib} MiB for each further item")
    return Profile(
        name=model.name if batch == 1 else f"{model.name}-b{batch}",
        exec_us=exec_us,
        p99_over_p50=max(1.0, float(np.nan_to_num(np.median(spread), nan=1.0))),
        memory_mib=memory,
        cold_us=_cold(model.kin),
        resume_us=_resume(model.kin),
        swap_mib=Figure(model.weights_mib, f"{ASSUMED}its parameters at four bytes each"),
        interference=model.interference,
    )


def _rows(table: Table, model: _Model, batch: int, product: str) -> NDArray[np.int64]:
    chosen = table.numbers["batch"] == batch
    wanted = {"model": model.model, "params": model.params, "gpu": product, "precision": model.precision}
    for name, value in wanted.items():
        chosen &= table.texts[name].rows_of(value)
    sections = table.texts["section"]
    inside = np.array([model.section in name for name in sections.names])
    return np.flatnonzero(chosen & inside[sections.codes])


def _median_ms(table: Table, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """The published median of each row, or its average where none is."""
    p50 = table.numbers["latency_p50_ms"][rows]
    return np.where(np.isnan(p50), table.numbers["latency_avg_ms"][rows], p50)


def _cold(kin: StartUp) -> Figure:
    return Figure(kin.cold_us, f"{ASSUMED}the cold start of {kin.model}, {kin.source}")


def _resume(kin: StartUp) -> Figure:
    return Figure(kin.hibernated_us, f"{ASSUMED}swap and resume of {kin.model}, {kin.source}")
