"""What tests of pages do in a browser, and what they read off a chart."""


def tab(browsed, name):
    browsed.get_by_role("tab", name=name).click()
    browsed.wait_for_selector(f"#view-{name.lower()}:not([hidden])")


def controls(browsed, view, name):
    return browsed.locator(f"#view-{view} [data-control='{name}']")


def plotted(browsed, view, number=0):
    """The traces of a view's chart that have a name for the keyboard: x, y and colour of each."""
    return browsed.evaluate(
        "([view, number]) => document.querySelectorAll(`#view-${view} .plot`)[number].data.filter(t => t.meta.walk)"
        ".map(t => ({x: [...t.x], y: [...t.y], method: t.meta.method}))",
        [view, number],
    )
