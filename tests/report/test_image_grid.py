"""Images side by side, as they come out."""

import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from fimo.report.figures import to_bytes
from fimo.report.image_grid import image_grid

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]], np.uint8)


def runs(line):
    """The colours along a line of pixels, white left out, each run once."""
    found = []
    for colour in line:
        if not (colour > 200).all() and (not found or (found[-1] != colour).any()):
            found.append(colour)
    return np.array(found)


@pytest.mark.parametrize("size, groups", [(8, ()), (32, [("test", 1), ("most helpful", 2), ("most harmful", 2)])])
def test_every_image_is_there_whole_sharp_and_in_its_place(size, groups):
    plain = [np.full((size, size, 3), colour) for colour in COLOURS]
    rows = [plain, plain[::-1], plain[:3]]
    captions = [["cat"] + ["dog\n4397: +1.2e-03"] * (len(row) - 1) for row in rows]
    figure = image_grid(rows, captions, ["test 0", "test 1\nloss 0.3", "test 2"], groups)
    picture = (imread(io.BytesIO(to_bytes(figure, "png")))[..., :3] * 255).round().astype(int)
    height, width, _ = picture.shape
    at = [axes.get_position() for axes in figure.axes]
    for row, first in zip(rows, (0, 5, 10), strict=True):
        y = round((1 - (at[first].y0 + at[first].y1) / 2) * height)
        left = round(at[first].x0 * width) + 3  # right of the row's title
        np.testing.assert_array_equal(runs(picture[y, left:]), [image[0, 0] for image in row])
    for image in at:
        assert image.width * width == pytest.approx(image.height * height, rel=1e-6)  # square
        assert 0 < image.x0 < image.x1 <= 1 and 0 < image.y0 < image.y1 < 1
    texts = [text.get_text() for text in figure.texts]
    assert texts == ["test 0", "test 1\nloss 0.3", "test 2", *(title for title, _ in groups)]
    FigureCanvasAgg(figure).draw()
    boxes = [axes.texts[0].get_window_extent() for axes in figure.axes[:5]]
    assert all(one.x1 < two.x0 for one, two in zip(boxes, boxes[1:], strict=False))  # captions don't touch


def test_grey_images_have_one_channel():
    image = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8, 1)
    (axes,) = image_grid([[image]], [["class 3"]], ["test 0"]).axes
    (drawn,) = axes.images
    np.testing.assert_array_equal(drawn.get_array(), image[..., 0])
    assert drawn.get_clim() == (0, 255) and drawn.get_interpolation() == "nearest"
