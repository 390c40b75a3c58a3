"""The page in a real browser: no request, no error, and everything that moves does."""

import base64
import dataclasses
import json
import shutil
import time
from importlib import resources

import pytest

from contrabench.contracts.gallery import Drawing, Exhibit, Gallery, Plane
from contrabench.contracts.registry import reports

pytest.importorskip("selenium", reason="needs the package selenium")
pytest.importorskip("vl_convert", reason="needs the extra html")

from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from .test_html import with_plot_data, with_tables

POINT = ".mark-symbol path[aria-roledescription]"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver on the path"
)
STILL = {"name": "prefers-reduced-motion", "value": "reduce"}
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, report, tmp_path):
    """The browser at a fresh page, 1280 wide, when all plots are drawn."""
    return open_page(browser, with_plot_data(report), tmp_path)


def open_page(browser, report, folder, place=""):
    """The page with all that is folded open; at a place of it, as the reader finds it."""
    file = folder / "report.html"
    file.write_text(reports.get("html")().render(report), encoding="utf-8")
    size(browser, 1280)
    # A page that still scrolls takes clicks in wrong places.
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [STILL]})
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(file.as_uri() + place)
    settled(browser)
    if not place:
        browser.execute_script(
            "for (const box of document.querySelectorAll('details')) box.open = true"
        )
        time.sleep(0.05)
        settled(browser)
    return browser


def settled(browser):
    wait(browser, lambda d: d.execute_script("return document.documentElement.dataset.drawn"))


def size(browser, width):
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


def wait(browser, condition):
    WebDriverWait(browser, 30).until(condition)


def find(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def every(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def column(browser, place=2):
    return [cell.text for cell in every(browser, f"#s1-t1-1 tbody tr > :nth-child({place})")]


def background(browser):
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_it_loads_without_an_error_or_a_request(opened):
    # Scripts that a name smuggled in would open a dialog, which fails every call below.
    time.sleep(0.2)
    assert opened.get_log("browser") == []
    events = (json.loads(entry["message"])["message"] for entry in opened.get_log("performance"))
    asked = {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
        # A fresh browser may still be at its own first page.
        and event["params"]["documentURL"] == opened.current_url
    }
    assert {url for url in asked if not url.startswith("data:")} == {opened.current_url}
    assert opened.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_the_plots_are_there(opened):
    # A small one for each family of the two that are not the floor's, in both metrics.
    assert len(every(opened, "[data-plot=curves] .plot svg")) == 4
    assert len(every(opened, "[data-plot=cases] svg")) == 2
    for plot in every(opened, "[data-plot=cases] svg"):
        assert len(plot.find_elements(By.CSS_SELECTOR, POINT)) == 6
        assert plot.size["width"] > 300
    for plot in every(opened, "[data-plot=curves] svg"):
        # The band of the floor, and the interval of its own method, seen when pointed at.
        assert len(plot.find_elements(By.CSS_SELECTOR, ".mark-area path")) == 2


def test_ranks_and_costs_are_drawn(browser, report, tmp_path):
    opened = open_page(browser, with_tables(report), tmp_path)
    assert opened.get_log("browser") == []
    assert len(every(opened, f"[data-plot=ranks] {POINT}")) == 5
    assert len(every(opened, "[data-plot=ranks] .mark-rect path")) == 3
    for metric, known in (("dice", 2), ("asd", 1)):
        plot = f"[data-plot=costs] [data-metric={metric}]"
        assert len(every(opened, f"{plot} {POINT}")) == known
        names = [text.text for text in every(opened, f"{plot} .mark-text.role-mark text")]
        assert len(names) == len(set(names)) == known
    Select(find(opened, "[data-filter=family]")).select_by_visible_text("local")
    wait(opened, lambda d: len(every(d, f"[data-plot=ranks] {POINT}")) == 4)


def test_pointing_near_a_mark_is_enough_and_shows_what_tables_show(browser, report, tmp_path):
    curves = with_plot_data(report).sections[0].plot_data.curves.assign(high=float("nan"))
    opened = open_page(browser, with_plot_data(report, curves=curves), tmp_path)
    point = every(opened, f"[data-plot=curves] [data-metric=asd] {POINT}")[0]
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(opened).move_to_element_with_offset(point, 5, 5).perform()
    wait(opened, lambda d: every(d, "#vg-tooltip-element.visible"))
    text = find(opened, "#vg-tooltip-element").text
    assert text.split("\n")[1:] == ["Labelled 2", "ASD mm 0.50", "95% low 0.40", "95% high –"]


def test_pointing_at_a_case_names_it(opened):
    point = every(opened, f"[data-plot=cases] {POINT}")[0]
    opened.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", point
    )
    before = len(every(opened, "[data-plot=cases] .mark-line path"))
    ActionChains(opened).move_to_element(point).perform()
    wait(opened, lambda d: every(d, "#vg-tooltip-element.visible"))
    text = find(opened, "#vg-tooltip-element").text
    assert "Patient" in text
    assert "Method" in text
    # The same case is joined across the methods.
    wait(opened, lambda d: len(every(d, "[data-plot=cases] .mark-line path")) > before)
    assert every(opened, "#vg-tooltip-element script, #vg-tooltip-element b") == []


def test_columns_sort_by_mouse_and_keyboard(opened):
    head = find(opened, "#s1-t1-1 thead th:nth-child(2)")
    first = column(opened)
    assert head.get_attribute("aria-sort") == "none"
    button = head.find_element(By.TAG_NAME, "button")
    button.click()
    # The best first.
    assert head.get_attribute("aria-sort") == "descending"
    assert column(opened) == ["0.812", "0.410", "–"]
    assert "descending" in find(opened, "#status").get_attribute("textContent")
    opened.execute_script("arguments[0].focus()", button)
    ActionChains(opened).send_keys(Keys.ENTER).perform()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(opened) == ["0.410", "0.812", "–"]
    ActionChains(opened).send_keys(Keys.SPACE).perform()
    assert head.get_attribute("aria-sort") == "none"
    assert column(opened) == first


def test_names_and_counts_sort_by_what_they_are(opened):
    every(opened, "#s1-t1-1 thead th button")[0].click()
    assert [text.split("\n")[0][0] for text in column(opened, 1)] == ["=", "m", "s"]
    heads = [cell.text for cell in every(opened, "#s1-t1-1 thead th")]
    # As texts, 2e-06 would come after 0.0625, and signs would decide.
    for name, ascending in {
        "A distance": ["1.00", "371.25", "–"],
        "A difference": ["+0.051", "-0.000", "–"],
        "A p": ["2e-06", "0.0625", "–"],
    }.items():
        place = heads.index(name) + 1
        find(opened, f"#s1-t1-1 thead th:nth-child({place}) button").click()
        assert column(opened, place) == ascending


def test_filters_leave_what_was_asked_for(opened):
    # The second method is the floor, which stays beside every family.
    Select(find(opened, "[data-filter=family]")).select_by_visible_text("local")
    for table in every(opened, "table[id]"):
        rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
        assert [row.is_displayed() for row in rows] == [True, True, False]
    assert find(opened, "#status").get_attribute("textContent") == "local, all structures"
    points = f"[data-plot=cases] {POINT}"
    wait(opened, lambda d: len(every(d, points)) == 2 * 4)
    Select(find(opened, "[data-filter=family]")).select_by_index(0)
    wait(opened, lambda d: len(every(d, points)) == 2 * 6)

    Select(find(opened, "[data-filter=structure]")).select_by_visible_text("RV")
    heads = [cell.text for cell in every(opened, "#s1-t2-1 thead th") if cell.is_displayed()]
    assert heads == ["Method", "RV"]
    assert find(opened, ".scope").text.startswith("RV alone")
    cells = every(opened, "#s1-t2-1 tbody tr:first-child td")
    assert [cell.is_displayed() for cell in cells].count(True) == 1
    title = "[data-plot=cases] .role-axis-title text"
    wait(opened, lambda d: any("RV" in text.text for text in every(d, title)))
    assert opened.get_log("browser") == []


def test_the_theme_follows_the_system_and_the_switch(opened):
    def prefer(value):
        feature = {"features": [{"name": "prefers-color-scheme", "value": value}]}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)

    prefer("light")
    light = background(opened)
    switch = find(opened, "#theme")
    assert switch.get_attribute("aria-pressed") == "false"
    switch.click()
    dark = background(opened)
    assert dark != light
    assert switch.get_attribute("aria-pressed") == "true"
    opened.refresh()
    assert background(opened) == dark
    assert find(opened, "#theme").get_attribute("aria-pressed") == "true"
    find(opened, "#theme").click()
    assert background(opened) == light
    opened.execute_script("localStorage.clear()")
    opened.refresh()
    prefer("dark")
    assert background(opened) == dark


def test_a_row_leads_to_its_runs(opened):
    opened.execute_script("arguments[0].click()", find(opened, "#s1-t1-1 tbody a"))
    wait(opened, lambda d: find(d, "#s1-r0").is_displayed())
    assert "aaaa bbbb" in find(opened, "#s1-r0").text


def test_on_a_phone_tables_scroll_in_their_own_box(opened):
    size(opened, 390)
    assert opened.execute_script("return document.documentElement.scrollWidth") == 390
    box = find(opened, ".scroll:has(#s1-t2-1)")
    name = box.find_element(By.CSS_SELECTOR, "tbody th")
    assert opened.execute_script("return arguments[0].scrollWidth", box) > 390
    opened.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", box)
    before = name.rect["x"]
    opened.execute_script("arguments[0].scrollLeft = 200", box)
    assert name.rect["x"] == pytest.approx(before, abs=1)


def test_print_shows_all_on_white(opened):
    opened.execute_script("document.documentElement.dataset.theme = 'dark'")
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert background(opened) == "rgb(255, 255, 255)"
    assert not find(opened, "#theme").is_displayed()
    # Heads are repeated on each sheet only without the box of a button in them.
    button = find(opened, "#s1-t1-1 thead button")
    assert (
        opened.execute_script("return getComputedStyle(arguments[0]).display", button) == "contents"
    )
    assert find(opened, "#s1-r0").is_displayed()
    opened.execute_script("document.getElementById('s1-runs').open = false")
    assert not find(opened, "#s1-runs").is_displayed()
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def changed(report, **changes):
    """The report with changes of the data of its first table, and plot data."""
    shown = with_plot_data(report)
    (section,) = shown.sections
    table, *others = section.tables
    first = dataclasses.replace(table, data=table.data.assign(**changes))
    whole = dataclasses.replace(section, tables=(first, *others))
    return dataclasses.replace(shown, sections=(whole,))


@pytest.mark.parametrize(
    ("given", "ascending"),
    [
        (["5.5", "5.27", "5.1"], ["5.1", "5.27", "5.5"]),
        (["10", "fewer than 2", "3.66"], ["fewer than 2", "3.66", "10"]),
        (["more than 6", "6", "5.9"], ["5.9", "6", "more than 6"]),
        (["no number", "over 5000", "12"], ["12", "over 5000", "no number"]),
        (["separated", None, "120"], ["120", "separated", "–"]),
    ],
)
def test_texts_with_a_number_sort_by_it(browser, report, tmp_path, given, ascending):
    opened = open_page(browser, changed(report, **{"A text": given}), tmp_path)
    heads = [cell.text for cell in every(opened, "#s1-t1-1 thead th")]
    place = heads.index("A text") + 1
    button = find(opened, f"#s1-t1-1 thead th:nth-child({place}) button")
    button.click()
    assert column(opened, place) == ascending
    button.click()
    known = [text for text in ascending if text != "–"]
    assert column(opened, place)[: len(known)] == known[::-1]


def test_a_reference_without_a_role_stays_beside_every_family(browser, report, tmp_path):
    shown = with_plot_data(report)
    (section,) = shown.sections
    methods = section.plot_data.methods.assign(family=["reference", "instance", "local"], role="")
    found = dataclasses.replace(section.plot_data, methods=methods)
    one = dataclasses.replace(shown, sections=(dataclasses.replace(section, plot_data=found),))
    opened = open_page(browser, one, tmp_path)
    Select(find(opened, "[data-filter=family]")).select_by_visible_text("local")
    for table in every(opened, "table[id]"):
        rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
        assert [row.is_displayed() for row in rows] == [True, False, True]
    wait(opened, lambda d: len(every(d, f"[data-plot=cases] {POINT}")) == 2 * 4)


def two_sections(report):
    """A section of 10 %, and one of 5 % of another dataset, without structures or its floor."""
    shown = with_plot_data(report)
    (section,) = shown.sections
    cases = section.plot_data.cases
    found = dataclasses.replace(
        section.plot_data, structures=(), cases=cases[cases["structure"] == ""]
    )
    other = dataclasses.replace(section, dataset="hearts", labels="5%", plot_data=found, verdict=())
    return dataclasses.replace(shown, sections=(section, other))


def test_one_section_is_looked_at_at_a_time(browser, report, tmp_path):
    opened = open_page(browser, two_sections(report), tmp_path)
    shown = "return [...document.querySelectorAll('.head')].map((part) => part.checkVisibility())"
    assert opened.execute_script(shown) == [True, False]
    every(opened, "nav .tab")[1].click()
    wait(opened, lambda d: d.execute_script(shown) == [False, True])
    assert [link.get_attribute("aria-current") for link in every(opened, "nav .tab")] == [
        None,
        "true",
    ]
    # On paper all of them stand below each other.
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert opened.execute_script(shown) == [True, True]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_what_a_choice_leaves_empty_says_so(browser, report, tmp_path):
    opened = open_page(browser, two_sections(report), tmp_path)
    every(opened, "nav .tab")[1].click()
    lines = "[data-tab=s2] .nothing"
    assert not any(line.is_displayed() for line in every(opened, lines))
    Select(find(opened, "[data-filter=structure]")).select_by_visible_text("RV")
    figure = "#s2-more figure[data-plot=cases]"
    wait(opened, lambda d: find(d, f"{figure} .nothing").is_displayed())
    assert every(opened, f"{figure} svg") == []
    Select(find(opened, "[data-filter=structure]")).select_by_index(0)
    wait(opened, lambda d: len(every(d, f"{figure} svg")) == 2)
    assert not any(line.is_displayed() for line in every(opened, lines))


def test_a_filter_keeps_the_place_of_the_reader(browser, report, tmp_path):
    opened = open_page(browser, with_plot_data(report), tmp_path)
    # Not every browser holds its place by itself.
    opened.execute_script("document.documentElement.style.overflowAnchor = 'none'")
    heading = find(opened, "#s1-cases summary")
    opened.execute_script("arguments[0].scrollIntoView()", heading)
    where = "return [scrollY, arguments[0].getBoundingClientRect().top]"
    scrolled, before = opened.execute_script(where, heading)
    # Chosen by script: the driver itself would scroll to the filter.
    opened.execute_script(
        "const s = document.querySelector('[data-filter=family]'); s.value = 'local';"
        "s.dispatchEvent(new Event('change'))"
    )
    settled(opened)
    time.sleep(0.1)
    now, after = opened.execute_script(where, heading)
    assert after == pytest.approx(before, abs=2)
    assert now < scrolled


def test_every_case_is_a_table_when_it_is_opened(browser, report, tmp_path):
    opened = open_page(browser, with_plot_data(report), tmp_path, "#s1-cases")
    assert every(opened, "#s1-more details.cases table") == []
    opened.execute_script("document.querySelector('#s1-more details.cases').open = true")
    wait(opened, lambda d: len(every(d, "#s1-more details.cases table")) == 2)
    rows = every(opened, "#s1-more details.cases table")[1].find_elements(
        By.CSS_SELECTOR, "tbody tr"
    )
    cells = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]
    assert cells == [["2.00", "1.67", "1.33"]] * 2
    Select(find(opened, "[data-filter=structure]")).select_by_visible_text("RV")
    caption = "#s1-more details.cases caption"
    assert find(opened, caption).text == "Dice of every case, RV"


def test_plots_are_drawn_again_when_a_phone_is_turned(opened):
    plot = find(opened, "[data-plot=cases] .plot svg")
    size(opened, 390)
    wait(opened, lambda d: find(d, "[data-plot=cases] .plot svg") != plot)
    room = find(opened, "[data-plot=cases] .plot").size["width"]
    assert find(opened, "[data-plot=cases] .plot svg").size["width"] <= room < 390


def test_only_boxes_that_scroll_are_stops_of_the_keyboard(opened):
    def stops(width):
        size(opened, width)
        time.sleep(0.3)
        return opened.execute_script(
            "return [...document.querySelectorAll('.scroll')].map((box) => "
            "[box.tabIndex === 0, box.scrollWidth > box.clientWidth])"
        )

    narrow, wide = stops(390), stops(2000)
    assert all(is_stop == scrolls for is_stop, scrolls in (*narrow, *wide))
    assert [True, True] in narrow
    assert [False, False] in wide


def test_the_ends_of_long_names_can_be_read_in_the_plots(browser, report, tmp_path):
    shown = with_plot_data(report)
    (section,) = shown.sections
    stem = "contrast[projection_dimension=128,augmentation_strength=0.25,temperature="
    names = [f"{stem}{heat}]" for heat in ("0.07", "0.1", "0.5")]
    methods = section.plot_data.methods.assign(Method=names, Deviations="none")
    found = dataclasses.replace(section.plot_data, methods=methods)
    one = dataclasses.replace(shown, sections=(dataclasses.replace(section, plot_data=found),))
    opened = open_page(browser, one, tmp_path)
    for width in (1280, 390):
        size(opened, width)
        time.sleep(0.5)
        settled(opened)
        for plot in every(opened, "[data-plot=cases] .plot"):
            labels = plot.find_elements(By.CSS_SELECTOR, ".role-axis-label text")
            texts = "".join(label.get_attribute("textContent") for label in labels)
            assert all(heat in texts for heat in ("0.07]", "0.1]", "0.5]"))
        labels = every(opened, "[data-plot=curves] .plot .mark-text.role-mark text")
        texts = {label.get_attribute("textContent") for label in labels}
        assert {
            heat for heat in ("0.07]", "0.1]", "0.5]") if any(heat in one for one in texts)
        } == {"0.07]", "0.1]", "0.5]"}
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width


def test_buttons_are_large_enough_for_a_finger(opened):
    size(opened, 390)
    heights = [button.size["height"] for button in every(opened, "#s1-t1-1 thead button")]
    assert min(heights) >= 24


def test_the_gallery_is_there_and_follows_the_filters(browser, report, tmp_path):
    shown = with_plot_data(report)
    (section,) = shown.sections
    runs = [keys[0] for keys in section.plot_data.methods["runs"]]
    families = section.plot_data.methods["family"]
    box = "M1 1l8 0 0 8 -8 0Z"
    planes = tuple(
        Plane(name, 3, 9, side, 40.0, 30.0, PIXEL, (box, box), (0, 1))
        for name, side in (("axial", "R"), ("coronal", "R"), ("sagittal", "A"))
    )
    drawings = tuple(
        Drawing(f"method {number}", "", families[number], run, 0.5, ((box, ""),) * 3)
        for number, run in enumerate(runs)
    )
    exhibit = Exhibit("worst patient", "p0", "p0_ed", 0.4, planes, drawings)
    gallery = Gallery(("RV", "x|y"), (exhibit,), ("One picture `is` left out.",))
    whole = dataclasses.replace(section, gallery=gallery)
    opened = open_page(browser, dataclasses.replace(shown, sections=(whole,)), tmp_path)
    assert opened.get_log("browser") == []
    widths = "return [...document.querySelectorAll('.gallery image')].map((i) => i.getBBox().width)"
    assert opened.execute_script(widths) == [40, 40, 40]

    def cards():
        return [card.is_displayed() for card in every(opened, ".gallery .card")]

    assert cards() == [True, True, True, True]  # the reference first
    assert every(opened, ".card figcaption")[1].text.endswith("mean Dice 0.500")
    # The second method is the floor, which stays.
    Select(find(opened, "[data-filter=family]")).select_by_visible_text("local")
    assert cards() == [True, True, True, False]
    Select(find(opened, "[data-filter=structure]")).select_by_visible_text("RV")
    lines = every(opened, ".gallery .card path[data-structure]")
    hidden = {line.get_attribute("data-structure") for line in lines
              if line.get_attribute("hidden") is not None}  # fmt: skip
    assert hidden == {"x|y"}


def test_the_answer_is_on_the_first_screen(browser, answered, tmp_path):
    opened = open_page(browser, answered, tmp_path, "#top")
    size(opened, 1440)
    assert opened.title == ("phantom, 10%, 20% of the labels: unimatch wins")
    for selector in (".setting", ".sight", ".words", ".effects svg", ".board table"):
        box = find(opened, f"#s2 {selector}").rect
        assert box["height"] > 10
        assert box["y"] + box["height"] <= 900, selector
    assert not find(opened, "#s3").is_displayed()
    assert find(opened, "#s1 [data-plot=curves]").rect["y"] > 0
    for width, height in ((768, 2 * 1024), (390, 2 * 844)):
        size(opened, width)
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
        box = find(opened, "#s2 .board table").rect
        assert box["y"] < height
    size(opened, 1280)


def test_a_deep_link_opens_what_it_leads_to(browser, answered, tmp_path):
    opened = open_page(browser, answered, tmp_path, "#s3-t2")
    assert find(opened, "#s3").is_displayed() or find(opened, "#s3-more").is_displayed()
    assert not find(opened, "#s2").is_displayed()
    wait(opened, lambda d: find(d, "#s3-t2-1").is_displayed())
    assert [box.get_attribute("id") for box in every(opened, "details.fold[open]")] == ["s3-t2"]
    find(opened, "#s3-t2 summary").click()
    find(opened, "#s3-t3 summary").click()
    assert opened.current_url.endswith("#s3-t3")


def test_the_forest_stands_without_scripts(browser, answered, tmp_path):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        file = tmp_path / "report.html"
        file.write_text(reports.get("html")().render(answered), encoding="utf-8")
        browser.get(file.as_uri())
        for selector in ("#s2 .forest.wide", "#s2 .board table", "#s3 .forest.wide"):
            assert find(browser, selector).is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_paper_takes_four_pages(browser, answered, tmp_path):
    """Two label budgets, and label efficiency; nothing that was not opened."""
    opened = open_page(browser, answered, tmp_path, "#top")
    printed = opened.execute_cdp_cmd(
        "Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True}
    )
    pages = base64.b64decode(printed["data"]).count(b"/Type /Page\n")
    assert 3 <= pages <= 4


def test_the_page_has_no_fault_that_axe_knows(browser, answered, tmp_path):
    script = (resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
    opened = open_page(browser, answered, tmp_path)
    opened.set_script_timeout(240)
    opened.execute_script(script)
    # What depends on the theme is contrast alone.
    for theme, rules in (("light", None), ("dark", ["color-contrast"])):
        opened.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        found = opened.execute_async_script(
            "const [rules, done] = arguments;"
            "const asked = { resultTypes: ['violations'], ...rules && { runOnly: rules } };"
            "axe.run(document, asked).then((told) => done(told.violations))",
            rules,
        )
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
