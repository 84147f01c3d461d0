"""Replicas of public data sets: their folders, names and encodings, in images of 64 pixels.

They follow the distributions, not the presets: a preset that errs in a name, a label or a split
finds no files, or other counts than ``write`` returns.
"""

import dataclasses
import itertools
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

SIDE = 64
TRAIN_VAL_TEST = ("train", "val", "test")

Code = int | tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Shot:
    """An image and what lies beside it, as paths below the root of the data."""

    image: str
    labels: str | None = None
    elevation: str | None = None
    cell: tuple[int, int] | None = None
    """Column and row in a lattice of images side by side; else the image stands alone."""


@dataclasses.dataclass(frozen=True)
class Replica:
    """A data set as its makers hand it out."""

    codes: dict[Code, str | None]
    """What label files say → the class it means, or None for what is not labelled."""

    scenes: dict[str, list[Shot]]
    as_palette: bool = False
    bands: int = 3
    crs: str | None = None
    gsd: float = 1.0
    lists: dict[str, str] = dataclasses.field(default_factory=dict)
    """Text file → the scene whose images it names."""


def write(name: str, root: Path) -> dict[str, Counter[str]]:
    """Write the replica of a preset; return how many pixels of each class every scene has."""
    found = REPLICAS[name]
    # several data sets lie side by side, in folders
    parts = {"": found} if isinstance(found, Replica) else found
    truth: dict[str, Counter[str]] = {}
    for folder, replica in parts.items():
        truth |= _write_replica(replica, root / folder)
    if name.startswith("potsdam"):
        _spoil(root)
    return truth


def _write_replica(replica: Replica, root: Path) -> dict[str, Counter[str]]:
    places = itertools.count()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        truth = {
            scene: sum((_write_shot(replica, s, next(places), root) for s in shots), Counter())
            for scene, shots in replica.scenes.items()
        }
    for file, scene in replica.lists.items():
        names = [Path(shot.image).name for shot in replica.scenes[scene]]
        (root / file).write_text("\n".join(names) + "\n")
    return truth


def _named(replica: Replica, **scenes: str) -> Replica:
    """Return some scenes of a replica: what a study calls each, and what the replica does."""
    return dataclasses.replace(
        replica, scenes={name: replica.scenes[scene] for name, scene in scenes.items()}
    )


def _write_shot(replica: Replica, shot: Shot, place: int, root: Path) -> Counter[str]:
    rng = np.random.default_rng(zlib.crc32(shot.image.encode()))
    pixels = rng.integers(1, 256, (replica.bands, SIDE, SIDE), np.uint8)
    column, row = shot.cell or (2 * place, 0)
    x, y = 366676.5 + column * SIDE * replica.gsd, 5809761.025 - row * SIDE * replica.gsd
    transform = rasterio.Affine(replica.gsd, 0, x, 0, -replica.gsd, y)
    drawn = _drawn(len(replica.codes), place)
    grid = {"crs": replica.crs, "transform": transform}
    if shot.elevation:
        heights = (30 + 8 * (drawn == 1)).astype(np.float32)
        _write_placed(root / shot.elevation, heights[None], replica.crs, transform)
        _write_placed(root / shot.image, pixels, replica.crs, transform)
        grid = {}
    else:
        _write(root / shot.image, pixels, **grid)
    if shot.labels is None:
        return Counter()
    table = np.array(list(replica.codes), np.uint8)
    labels = np.moveaxis(np.atleast_3d(table[drawn]), -1, 0)
    _write(root / shot.labels, labels, replica.as_palette, **grid)
    counts = np.bincount(drawn.ravel(), minlength=len(replica.codes)).tolist()
    return _summed(zip(replica.codes.values(), counts, strict=True))


def _drawn(count: int, shift: int) -> np.ndarray:
    """Return ``count`` codes as stripes, each one pixel longer than the one before."""
    stripes = np.repeat(np.arange(count), np.arange(1, count + 1))
    return np.roll(np.resize(stripes, SIDE * SIDE), 7 * shift).reshape(SIDE, SIDE)


def _summed(pairs: Iterable[tuple[str | None, int]]) -> Counter[str]:
    counts = Counter()
    for name, count in pairs:
        if name is not None:
            counts[name] += count
    return counts


def _write(path: Path, bands: np.ndarray, as_palette: bool = False, **grid) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        count, height, width = bands.shape
        profile = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
        with rasterio.open(path, "w", driver="GTiff", compress="LZW", **profile, **grid) as file:
            file.write(bands)
        return
    picture = Image.fromarray(np.moveaxis(bands, 0, -1).squeeze())
    if as_palette:
        picture = Image.fromarray(bands[0], mode="P")
        picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    picture.save(path)


def _write_placed(
    path: Path, bands: np.ndarray, crs: str | None, transform: rasterio.Affine
) -> None:
    """Write a raster whose place stands in a world file beside it, as ISPRS hands them out."""
    _write(path, bands, crs=crs)
    x, y = transform @ (0.5, 0.5)
    lines = (transform.a, transform.d, transform.b, transform.e, x, y)
    path.with_suffix(".tfw").write_text("".join(f"{number}\n" for number in lines))


def _spoil(root: Path) -> None:
    """Give Potsdam its faults: two labels off the palette, one surface a column short."""
    labels = "5_Labels_all/top_potsdam_{}_label.tif"
    with rasterio.open(root / labels.format("4_12"), "r+") as file:
        file.write(np.abs(file.read().astype(np.int16) - 9).astype(np.uint8))
    with rasterio.open(root / labels.format("6_7"), "r+") as file:
        colours = file.read()
        colours[0, (colours == np.array([[[255]], [[255]], [[0]]])).all(axis=0)] = 252
        file.write(colours)
    surface = root / "1_DSM/dsm_potsdam_03_13.tif"
    with rasterio.open(surface) as file:
        heights, place = file.read()[..., :-1], (file.crs, file.transform)
    _write_placed(surface, heights, *place)


def _isprs(clutter: str | None) -> dict[Code, str | None]:
    return {
        (255, 255, 255): "impervious surface",
        (0, 0, 255): "building",
        (0, 255, 255): "low vegetation",
        (0, 255, 0): "tree",
        (255, 255, 0): "car",
        (255, 0, 0): clutter,
    }


def _potsdam(clutter: str | None) -> Replica:
    tiles = "2_10 2_11 2_12 2_13 2_14 3_10 3_11 3_12 3_13 3_14 4_10 4_11 4_12 4_13 4_14 4_15"
    tiles += " 5_10 5_11 5_12 5_13 5_14 5_15 6_7 6_8 6_9 6_10 6_11 6_12 6_13 6_14 6_15"
    tiles += " 7_7 7_8 7_9 7_10 7_11 7_12 7_13"
    scenes = {}
    for tile in tiles.split():
        row, column = map(int, tile.split("_"))
        scenes[tile] = [
            Shot(
                f"2_Ortho_RGB/top_potsdam_{tile}_RGB.tif",
                f"5_Labels_all/top_potsdam_{tile}_label.tif",
                f"1_DSM/dsm_potsdam_{row:02}_{column:02}.tif",
                (column, row),
            )
        ]
    return Replica(_isprs(clutter), scenes, crs="EPSG:32633", gsd=0.05)


def _vaihingen(clutter: str | None) -> Replica:
    truth = "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE"
    areas = set(range(1, 39)) - {9, 18, 19, 25, 36}
    scenes = {
        f"area{n}": [
            Shot(
                f"top/top_mosaic_09cm_area{n}.tif",
                f"{truth}/top_mosaic_09cm_area{n}.tif",
                f"dsm/dsm_09cm_matching_area{n}.tif",
            )
        ]
        for n in sorted(areas)
    }
    return Replica(_isprs(clutter), scenes, gsd=0.09)


def _loveda() -> Replica:
    names = ["background", "building", "road", "water", "barren", "forest", "agriculture"]
    scenes, numbers = {}, itertools.count()
    for split, place in itertools.product(("Train", "Val", "Test"), ("Rural", "Urban")):
        files = [f"{next(numbers)}.png" for _ in range(2)]
        scenes[f"{place}_{split}".lower()] = [
            Shot(
                f"{split}/{place}/images_png/{file}",
                None if split == "Test" else f"{split}/{place}/masks_png/{file}",
            )
            for file in files
        ]
    return Replica(dict(enumerate([None, *names])), scenes)


def _openearthmap() -> Replica:
    names = "bareland rangeland developed_space road tree water agriculture_land building"
    codes = dict(enumerate([None, *(name.replace("_", " ") for name in names.split())]))
    regions = {
        "train": ("aachen_1", "el_rodeo_10"),
        "val": ("aachen_5", "kujawsko-pomorskie_2"),
        "test": ("aachen_17",),
    }
    scenes = {
        split: [
            Shot(
                f"{tile.rpartition('_')[0]}/images/{tile}.tif",
                None if split == "test" else f"{tile.rpartition('_')[0]}/labels/{tile}.tif",
            )
            for tile in tiles
        ]
        for split, tiles in regions.items()
    }
    lists = {f"{split}.txt": split for split in scenes}
    return Replica(codes, scenes, crs="EPSG:32632", gsd=0.3, lists=lists)


FLAIR_CLASSES = (
    "building, pervious surface, impervious surface, bare soil, water, coniferous, deciduous,"
    " brushwood, vineyard, herbaceous vegetation, agricultural land, plowed land"
)
FLAIR_TRAIN = """
D004_2021 D006_2020 D007_2020 D008_2019 D009_2019 D013_2020 D014_2020 D016_2020 D017_2018 D021_2020
D023_2020 D029_2021 D030_2021 D031_2019 D032_2019 D033_2021 D034_2021 D035_2020 D038_2021 D041_2021
D044_2020 D046_2019 D049_2020 D051_2019 D052_2019 D055_2018 D058_2020 D060_2021 D063_2019 D066_2021
D067_2021 D070_2020 D072_2019 D074_2020 D077_2021 D078_2021 D080_2021 D081_2020 D086_2020 D091_2021
"""
FLAIR_TEST = """
D012_2019 D022_2021 D026_2020 D064_2021 D068_2021 D071_2020 D075_2021 D076_2019 D083_2020 D085_2019
"""


def _flair() -> Replica:
    scenes, numbers = {}, itertools.count(1)
    for domain in (FLAIR_TRAIN + FLAIR_TEST).split():
        is_test = domain in FLAIR_TEST
        images = "flair_1_aerial_test" if is_test else "flair_aerial_train"
        masks = "flair_1_labels_test" if is_test else "flair_labels_train"
        patches = [(zone, f"{next(numbers):06}.tif") for zone in ("Z1_NN", "Z10_AU")]
        scenes[domain] = [
            Shot(f"{images}/{domain}/{zone}/img/IMG_{n}", f"{masks}/{domain}/{zone}/msk/MSK_{n}")
            for zone, n in patches
        ]
    codes = dict(enumerate([*FLAIR_CLASSES.split(", "), *[None] * 7], 1))
    return Replica(codes, scenes, bands=5, crs="EPSG:2154", gsd=0.2)


def _isaid() -> Replica:
    codes = {
        (0, 0, 0): "background",
        (0, 0, 63): "ship",
        (0, 63, 63): "storage tank",
        (0, 63, 0): "baseball diamond",
        (0, 63, 127): "tennis court",
        (0, 63, 191): "basketball court",
        (0, 63, 255): "ground track field",
        (0, 127, 63): "bridge",
        (0, 127, 127): "large vehicle",
        (0, 0, 127): "small vehicle",
        (0, 0, 191): "helicopter",
        (0, 0, 255): "swimming pool",
        (0, 191, 127): "roundabout",
        (0, 127, 191): "soccer ball field",
        (0, 127, 255): "plane",
        (0, 100, 155): "harbor",
    }
    numbers = {"train": ("0002", "0010"), "val": ("0003", "0004"), "test": ("0006",)}
    scenes = {
        split: [
            Shot(
                f"{split}/images/P{number}.png",
                None if split == "test" else f"{split}/images/P{number}_instance_color_RGB.png",
            )
            for number in found
        ]
        for split, found in numbers.items()
    }
    return Replica(codes, scenes)


def _deepglobe() -> Replica:
    codes = {
        (0, 255, 255): "urban land",
        (255, 255, 0): "agriculture land",
        (255, 0, 255): "rangeland",
        (0, 255, 0): "forest land",
        (0, 0, 255): "water",
        (255, 255, 255): "barren land",
        (0, 0, 0): None,
    }
    scenes = {
        "train": [Shot(f"train/{n}_sat.jpg", f"train/{n}_mask.png") for n in range(119, 129)],
        "valid": [Shot("valid/10452_sat.jpg")],
        "test": [Shot("test/100877_sat.jpg")],
    }
    return Replica(codes, scenes)


CLASSES_OF_CITYSCAPES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
IDS_OF_CITYSCAPES = {value: CLASSES_OF_CITYSCAPES.get(value) for value in range(34)}


def _town(split: str, town: str) -> Shot:
    name = f"{split}/{town}/{town}_000000_000019"
    return Shot(
        f"leftImg8bit/{name}_leftImg8bit.png",
        None if split == "test" else f"gtFine/{name}_gtFine_labelIds.png",
    )


VAL_TOWNS = ("frankfurt", "lindau", "munster")


def _cityscapes() -> Replica:
    scenes = {
        "train": [_town("train", "aachen"), _town("train", "ulm")],
        **{town: [_town("val", town)] for town in VAL_TOWNS},
        "test": [_town("test", "berlin")],
    }
    return Replica(IDS_OF_CITYSCAPES, scenes)


def _gta5() -> Replica:
    frames = [Shot(f"images/{n}.png", f"labels/{n}.png") for n in ("00001", "24966")]
    return Replica(IDS_OF_CITYSCAPES | {34: None}, {"gta5": frames}, as_palette=True)


def _bdd100k() -> Replica:
    names = {"train": "0004a4c0-d4dff0ad", "val": "7d06fefd-f7be05a6", "test": "ac517380-00000000"}
    scenes = {
        split: [
            Shot(
                f"images/10k/{split}/{name}.jpg",
                None if split == "test" else f"labels/sem_seg/masks/{split}/{name}.png",
            )
        ]
        for split, name in names.items()
    }
    return Replica(dict(enumerate(CLASSES_OF_CITYSCAPES.values())) | {255: None}, scenes)


def _acdc() -> Replica:
    scenes = {}
    for weather, split in itertools.product(("fog", "night", "rain", "snow"), TRAIN_VAL_TEST):
        frame = f"{weather}/{split}/GOPR0475/GOPR0475_frame_000041"
        labels = None if split == "test" else f"gt/{frame}_gt_labelIds.png"
        scenes[f"{weather}_{split}"] = [Shot(f"rgb_anon/{frame}_rgb_anon.png", labels)]
    return Replica(IDS_OF_CITYSCAPES, scenes)


MAPILLARY = """
- - sidewalk fence - - wall road road sidewalk road sidewalk - road road sidewalk - building -
person rider rider rider road road - - sky - terrain vegetation - - - - - - - - - - - - -
pole pole traffic_sign pole traffic_light traffic_sign traffic_sign - bicycle - bus car -
motorcycle train - - truck - - - -
"""
"""The classes of Cityscapes that the 66 labels of v1.2 become, in their order."""


def _mapillary() -> Replica:
    codes = {
        value: None if label == "-" else label.replace("_", " ")
        for value, label in enumerate(MAPILLARY.split())
    }
    scenes = {
        split: [
            Shot(
                f"{split}/images/{name}.jpg",
                None if split == "testing" else f"{split}/v1.2/labels/{name}.png",
            )
            for name in names
        ]
        for split, names in {
            "training": ("0035fkbjWljhaftpVM37-g", "00qclUcInksIYnm19b1Xfw"),
            "validation": ("03G8WHFnNfiJR-457i0MWQ",),
            "testing": ("08ADxZ1CxBVn_rQVIsMxbw",),
        }.items()
    }
    return Replica(codes, scenes, as_palette=True)


def _liuzhou() -> Replica:
    codes = {0: None} | {value: f"class {value}" for value in range(1, 8)}
    scenes = {
        split: [Shot(f"{split}/images/{split}.tif", f"{split}/labels/{split}.tif")]
        for split in TRAIN_VAL_TEST
    }
    return Replica(codes, scenes, crs="EPSG:32649", gsd=0.5)


def _dgss(more: dict[str, Replica], *towns: str) -> dict[str, Replica]:
    """Return the data sets that both protocols of domain generalisation have, and ``more``."""
    return more | {
        "cityscapes": _named(_cityscapes(), **{town: town for town in (*towns, *VAL_TOWNS)}),
        "bdd100k": _named(_bdd100k(), bdd100k="val"),
        "mapillary": _named(_mapillary(), mapillary="validation"),
    }


def _irrg() -> Replica:
    """Return Potsdam in near infrared, red and green."""
    potsdam = _potsdam(None)
    image = "3_Ortho_IRRG/top_potsdam_{}_IRRG.tif".format
    scenes = {
        scene: [dataclasses.replace(shot, image=image(scene))]
        for scene, (shot,) in potsdam.scenes.items()
    }
    return dataclasses.replace(potsdam, scenes=scenes)


def _continents() -> Replica:
    replica, tiles = _openearthmap(), ("aachen_1", "dhaka_2", "accra_3", "lima_4", "austin_5")
    names = ("europe", "asia", "africa", "south_america", "north_america", "oceania")
    scenes = {}
    for split, (continent, tile) in itertools.product(
        ("train", "val"), zip(names, (*tiles, "tonga_6"), strict=True)
    ):
        region, number = tile.split("_")
        file = f"{region}_{number}{'' if split == 'train' else 0}.tif"
        scenes[f"{continent}_{split}"] = [
            Shot(f"{region}/images/{file}", f"{region}/labels/{file}")
        ]
    lists = {f"{scene}.txt": scene for scene in scenes}
    return dataclasses.replace(replica, scenes=scenes, lists=lists)


REPLICAS: dict[str, Replica | dict[str, Replica]] = {
    "potsdam": _potsdam(None),
    "potsdam_with_clutter": _potsdam("clutter"),
    "vaihingen": _vaihingen(None),
    "vaihingen_with_clutter": _vaihingen("clutter"),
    "loveda": _loveda(),
    "openearthmap": _openearthmap(),
    "flair": _flair(),
    "isaid": _isaid(),
    "deepglobe": _deepglobe(),
    "cityscapes": _cityscapes(),
    "bdd100k": _bdd100k(),
    "acdc": _acdc(),
    "mapillary": _mapillary(),
    "liuzhou": _liuzhou(),
    "dgss_gta": _dgss({"gta5": _gta5()}),
    "dgss_cityscapes": _dgss(
        {
            "acdc": _named(
                _acdc(), fog="fog_val", night="night_val", rain="rain_val", snow="snow_val"
            )
        },
        "train",
    ),
    "_dg_potsdam_vaihingen": {"potsdam": _irrg(), "vaihingen": _vaihingen(None)},
    "_dg_openearthmap": _continents(),
}
