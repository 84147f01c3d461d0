import pytest

from pipeline_steps.study.sidecars import sidecars_of


@pytest.fixture
def beside(tmp_path):
    """A function that makes files and says what is found beside the first of them."""

    def look(*names, text=""):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text if name == names[0] else "")
        found = sidecars_of(str(tmp_path / names[0]))
        return {file.removeprefix(f"{tmp_path}/") for file in found}

    return look


@pytest.mark.parametrize(
    "raster, others",
    [
        ("a.tif", {"a.tif.msk", "a.tif.aux.xml", "a.tif.ovr", "a.tfw", "a.tifw", "a.wld"}),
        ("a.jpg", {"a.jgw", "a.jpgw", "a.jpg.aux.xml"}),
        ("a.jpeg", {"a.jgw", "a.jpegw"}),
        ("a.png", {"a.pgw", "a.pngw"}),
        ("a.jp2", {"a.j2w"}),
        ("a.b.tif", {"a.b.tfw", "a.b.tif.msk"}),
    ],
)
def test_what_gdal_reads_beside_a_raster_is_found(beside, raster, others):
    strangers = ("b.tfw", "a.txt", "a.tif.bak", "msk")

    assert beside(raster, *others, *strangers) == others


@pytest.mark.parametrize("name", ["a.shp", "a.SHP"])
def test_the_parts_of_a_shapefile_are_found(beside, name):
    parts = {"a.dbf", "a.shx", "a.prj", "a.cpg"}

    assert beside(name, *parts, "b.dbf") == parts


def test_a_file_alone_has_nothing_beside_it(beside):
    assert beside("a.tif") == set()
    assert beside("plain") == set()


MOSAIC = """<VRTDataset rasterXSize="2" rasterYSize="1">
  <VRTRasterBand dataType="Byte" band="1">
    <SimpleSource><SourceFilename relativeToVRT="1">parts/a.tif</SourceFilename></SimpleSource>
    <ComplexSource><SourceFilename relativeToVRT="0">{absolute}</SourceFilename></ComplexSource>
    <SimpleSource><SourceFilename relativeToVRT="1">parts/gone.tif</SourceFilename></SimpleSource>
    <SimpleSource><SourceFilename relativeToVRT="1">parts/a.tif</SourceFilename></SimpleSource>
  </VRTRasterBand>
</VRTDataset>"""


def test_the_sources_of_a_mosaic_are_found_once_each(beside, tmp_path):
    text = MOSAIC.format(absolute=tmp_path / "far" / "b.tif")

    found = beside("mosaic.vrt", "parts/a.tif", "far/b.tif", "parts/c.tif", text=text)

    assert found == {"parts/a.tif", "far/b.tif"}
    assert len(sidecars_of(str(tmp_path / "mosaic.vrt"))) == 2


def test_the_source_of_a_warped_vrt_is_found(beside):
    text = (
        '<VRTDataset rasterXSize="2" rasterYSize="1" subClass="VRTWarpedDataset">'
        '<GDALWarpOptions><SourceDataset relativeToVRT="1">a.tif</SourceDataset>'
        "</GDALWarpOptions></VRTDataset>"
    )

    assert beside("warped.vrt", "a.tif", text=text) == {"a.tif"}


@pytest.mark.parametrize("text", ["", "scene\timage", "<VRTDataset>", "\udcff", "<a><b></a></b>"])
def test_a_mosaic_that_is_no_xml_is_left_to_whoever_opens_it(tmp_path, text):
    mosaic = tmp_path / "mosaic.vrt"
    mosaic.write_bytes(text.encode("utf-8", "surrogateescape"))

    assert sidecars_of(str(mosaic)) == []
