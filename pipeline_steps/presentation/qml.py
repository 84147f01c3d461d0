"""The style of a delivery for QGIS: a colour and a name for every class, of map and polygons.

QGIS looks for the style of ``classes.tif``, ``classes.gpkg`` and ``classes.parquet`` in one file,
and takes of it what is meant for a raster, or for polygons.
"""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from pipeline_steps.study.classes import ClassLook

DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def style(looks: Sequence[ClassLook], attribute: str) -> str:
    """Return a QML document: a palette of band 1, and fills by the name in a column.

    What has none of the values has no colour.
    """
    root = Element("qgis", version="3.28", styleCategories="Symbology")
    _raster(SubElement(root, "pipe"), looks)
    facts = {"type": "categorizedSymbol", "attr": attribute, "symbollevels": "0"}
    _polygons(SubElement(root, "renderer-v2", facts), looks)
    SubElement(root, "blendMode").text = "0"
    indent(root)
    return f"{DOCTYPE}{tostring(root, encoding='unicode')}\n"


def _raster(pipe: Element, looks: Sequence[ClassLook]) -> None:
    facts = {"type": "paletted", "band": "1", "opacity": "1", "alphaBand": "-1"}
    renderer = SubElement(pipe, "rasterrenderer", facts | {"nodataColor": ""})
    SubElement(renderer, "rasterTransparency")
    palette = SubElement(renderer, "colorPalette")
    for index, look in enumerate(looks):
        entry = {"value": str(index), "color": look.color, "alpha": "255", "label": look.name}
        SubElement(palette, "paletteEntry", entry)
    SubElement(pipe, "rasterresampler", maxOversampling="2")
    SubElement(pipe, "resamplingStage").text = "resamplingFilter"


def _polygons(renderer: Element, looks: Sequence[ClassLook]) -> None:
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for index, look in enumerate(looks):
        facts = {"value": look.name, "label": look.name, "symbol": str(index), "render": "true"}
        SubElement(categories, "category", facts)
        symbol = SubElement(symbols, "symbol", type="fill", name=str(index), alpha="1")
        layer = SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0"})
        options = SubElement(layer, "Option", type="Map")
        red, green, blue = look.rgb
        fill = {"color": f"{red},{green},{blue},255", "style": "solid", "outline_style": "no"}
        for name, value in fill.items():
            SubElement(options, "Option", name=name, type="QString", value=value)
