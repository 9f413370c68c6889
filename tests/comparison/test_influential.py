"""influential.md names the examples at the ends of known rankings."""

import numpy as np
import pytest
import xarray as xr

from fimo.comparison.influential import GOLD, extremes, rankings
from fimo.report.influential import Examples, influential_figure, influential_markdown


def ranking(values, **coords):
    return xr.DataArray(np.array(values), {"test": [0, 1], "left_out": [4, 8, 15, 16], **coords}, ("test", "left_out"))


SCORES = ranking([[0.3, -0.1, 0.2, -0.4], [0.0, 0.1, np.nan, 0.2]])


def losses(effects, seed):
    """One seed whose eq. 17 at steps 1 and 2 is `effects` (and twice that) plus a common shift."""
    full = np.full((2, 2), 3.0 + seed)
    left_out = full[:, :, None] + np.stack([effects, 2 * effects]) + seed
    return xr.Dataset(
        {
            "loss_before": ("test", [5.0, 5.0]),
            "loss_full": (("step", "test"), full),
            "loss_left_out": (("step", "test", "left_out"), left_out),
        },
        coords={"step": [6, 11], "epoch": ("step", [0.5, 1.0]), "test": [0, 1], "left_out": [4, 8, 15, 16]},
    )


def test_the_ends_of_a_ranking():
    ends = extremes(SCORES.sel(test=0), 2)
    assert ends.helpful == ((4, 0.3), (15, 0.2)) and ends.harmful == ((16, -0.4), (8, -0.1))
    ends = extremes(SCORES.sel(test=1), 3)  # nothing harms, one is unknown
    assert ends.helpful == ((16, 0.2), (8, 0.1)) and ends.harmful == ()


def test_the_gold_standard_comes_first_with_its_sign_and_centred():
    effects = np.array([[1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 4.0, 0.0]])
    found = rankings({"Grad-Dot": SCORES}, [losses(effects, 0), losses(effects, 1)])
    assert list(found) == ["a*, epoch 0.5", "a*, epoch 1", "a* centred, epoch 1", "Grad-Dot"]
    np.testing.assert_allclose(found["a*, epoch 0.5"], effects + 0.5)  # the mean of the seeds' shifts
    np.testing.assert_allclose(found["a*, epoch 1"], 2 * effects + 0.5)
    np.testing.assert_allclose(found["a* centred, epoch 1"], 2 * (effects - effects.mean(1, keepdims=True)))


def test_one_evaluated_step_is_one_gold_standard():
    found = rankings({"Grad-Dot": SCORES}, [losses(np.ones((2, 4)), 0).isel(step=[1])])
    assert [name.startswith(GOLD) for name in found] == [True, True, False]


def test_a_method_that_depends_on_the_step_is_taken_at_the_last():
    both = xr.concat([SCORES, -SCORES], "step").assign_coords(step=[6, 11])
    found = rankings({"Unrolled-GN": both}, [losses(np.ones((2, 4)), 0)])
    np.testing.assert_array_equal(found["Unrolled-GN"], -SCORES)


def test_what_is_written():
    examples = Examples(lambda split, row: f"{split} example {row}")
    text = influential_markdown({"Grad-Dot": SCORES}, examples, tests=1, count=1)
    assert "## Test example 0\n\n> test example 0" in text and "## Test example 1" not in text
    assert "| Grad-Dot | 4: 0.3 | 16: -0.4 |" in text
    assert "- **4** train example 4\n- **16** train example 16" in text and "**15**" not in text
    assert influential_figure("a*", SCORES, Examples(lambda split, row: "text")) is None


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3)])
def test_images_are_drawn(shape):
    drawn = []

    def shown(split, row):
        drawn.append((split, row))
        return np.full(shape, row, dtype=np.uint8)

    figure = influential_figure("a*", SCORES, Examples(shown), tests=2, count=2)
    assert {("test", 0), ("test", 1), ("train", 4), ("train", 16)} <= set(drawn)
    assert sum(len(axes.images) for axes in figure.axes) == 10
    captions = [text.get_text() for axes in figure.axes for text in (axes.title, axes.xaxis.label, *axes.texts)]
    assert captions.count("–") == 2  # nothing harms the second test example
    assert "(influential.png)" in influential_markdown({"Grad-Dot": SCORES}, Examples(shown))
