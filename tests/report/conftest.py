"""A headless Chromium for the tests of pages, and what opens a page in it."""

import shutil

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no chromium (or google-chrome) is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path, drawing):
    """Opens a page; at the end nothing was on the console, and nothing was asked of a network."""
    contexts, wrong = [], []

    def of(content, width=1280, scheme="light", hash=""):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        browsed = context.new_page()
        browsed.on("console", lambda message: wrong.append(message.text))
        browsed.on("pageerror", lambda error: wrong.append(str(error)))
        browsed.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        path = tmp_path / f"{len(contexts)}.html"
        path.write_bytes(content)
        browsed.goto(f"{path.as_uri()}{hash}")
        browsed.wait_for_selector("html[data-ready]", state="attached")
        browsed.set_default_timeout(5000)
        return browsed

    yield of
    for context in contexts:
        context.close()
    assert not wrong
