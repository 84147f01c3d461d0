"""Files that GDAL reads along with the one that a study names."""

import os
from xml.etree import ElementTree

SHAPEFILE = (".dbf", ".shx", ".prj", ".cpg")


def sidecars_of(file: str) -> list[str]:
    """Return mask, notes, world file, the parts of a shapefile, and the sources of a mosaic."""
    stem, end = os.path.splitext(file)
    world = [f"{stem}{end[:2]}{end[-1]}w", f"{file}w", f"{stem}.wld"] if len(end) > 2 else []
    parts = [stem + part for part in SHAPEFILE] if end.lower() == ".shp" else []
    sources = _sources(file) if end.lower() == ".vrt" else []
    beside = (f"{file}.msk", f"{file}.aux.xml", f"{file}.ovr", *world, *parts, *sources)
    return [f for f in beside if os.path.isfile(f)]


def _sources(mosaic: str) -> list[str]:
    """Return the files of a VRT; what is no XML is left to whoever opens it."""
    try:
        tree = ElementTree.parse(mosaic)
        names = [*tree.iter("SourceFilename"), *tree.iter("SourceDataset")]
    except (ElementTree.ParseError, OSError, UnicodeDecodeError):
        return []
    folder, found = os.path.dirname(mosaic), {}
    for name in names:
        relative = name.get("relativeToVRT") == "1"
        path = os.path.join(folder, name.text or "") if relative else name.text or ""
        found[path] = None
    return list(found)
