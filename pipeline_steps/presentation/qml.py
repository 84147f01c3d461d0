"""The class map's style for QGIS: a colour and a name for every class."""

from collections.abc import Sequence
from xml.etree import ElementTree

from pipeline_steps.study.classes import ClassLook

DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def style(looks: Sequence[ClassLook]) -> str:
    """Return a QML document: a paletted renderer of band 1, where other values are transparent."""
    root = ElementTree.Element("qgis", version="3.28", styleCategories="Symbology")
    pipe = ElementTree.SubElement(root, "pipe")
    facts = {"type": "paletted", "band": "1", "opacity": "1", "alphaBand": "-1"}
    renderer = ElementTree.SubElement(pipe, "rasterrenderer", facts | {"nodataColor": ""})
    ElementTree.SubElement(renderer, "rasterTransparency")
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for index, look in enumerate(looks):
        entry = {"value": str(index), "color": look.color, "alpha": "255", "label": look.name}
        ElementTree.SubElement(palette, "paletteEntry", entry)
    ElementTree.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ElementTree.SubElement(pipe, "resamplingStage").text = "resamplingFilter"
    ElementTree.SubElement(root, "blendMode").text = "0"
    ElementTree.indent(root)
    return f"{DOCTYPE}{ElementTree.tostring(root, encoding='unicode')}\n"
