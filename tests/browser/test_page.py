"""The page in a real headless Chromium against a real api-server: log in, open each view, act, see the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.browser.conftest import MODEL, NIGHTS, Site

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]
PATIENCE = 60
VIEWS = {
    "nights": ".night",
    "run": ".gauge .dot",
    "drift": "canvas",
    "trend": "canvas",
    "canary": "canvas",
    "live": "canvas",
    "alerts": "tbody tr",
    "feedback": ".empty",
    "triage": "tbody tr",
    "audit": "tbody tr",
}
WHY = "looked at it with the vendor, fixed"


class Visitor:
    """One person in front of one browser."""

    def __init__(self, driver: Any, site: Site, name: str) -> None:
        self.driver, self.site, self.name = driver, site, name

    def narrow(self, width: int) -> None:
        """Narrower than a window may be, as a telephone is."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def log_in(self) -> Visitor:
        self.driver.get(f"{self.site.url}/auth/login")
        self.one("input[name=username]").send_keys(self.name)
        self.one("input[name=password]").send_keys(f"pw-{self.name}")
        self.one("button[type=submit]").click()
        self.until(lambda: "/auth/login" not in self.driver.current_url, "logged in")
        return self

    def open(self, path: str = "/gauntlet/", theme: str = "light") -> Visitor:
        self.driver.execute_script("localStorage.setItem('theme', arguments[0])", theme)
        self.driver.get(self.site.url + path)
        return self

    def into_frame(self) -> Visitor:
        self.driver.switch_to.frame(self.one("iframe"))
        return self

    def tab(self, name: str) -> None:
        self.one(f"#tab-{name}").click()
        self.one(f"#panel[data-view={name}]:not([aria-busy]) {VIEWS[name]}")

    def one(self, selector: str) -> Any:
        from selenium.webdriver.common.by import By

        found: list[Any] = []

        def there() -> bool:
            found[:] = self.driver.find_elements(By.CSS_SELECTOR, selector)
            return bool(found)

        self.until(there, selector)
        return found[0]

    def click(self, selector: str) -> None:
        """Click what is there; again when the page has just been drawn anew."""
        from selenium.common.exceptions import StaleElementReferenceException

        def done() -> bool:
            try:
                self.one(selector).click()
            except StaleElementReferenceException:
                return False
            return True

        self.until(done, selector)

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
        return self.driver.execute_script(script, selector)

    def until(self, true: Callable[[], bool], what: str) -> None:
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            WebDriverWait(self.driver, PATIENCE).until(lambda _: true())
        except TimeoutException:
            pytest.fail(f"{self.driver.current_url} never had {what}: {self.texts('body')[0][:600]}")

    def complaints(self) -> list[str]:
        """What the browser's console says against the page."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def barriers(self) -> list[str]:
        """What keeps people out, by axe: contrast, names of controls, roles, headings."""
        import axe_core_python

        if not self.driver.execute_script("return 'axe' in window"):
            self.driver.execute_script((Path(axe_core_python.__path__[0]) / "axe.min.js").read_text())
        script = "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] }).then(done)"
        return [
            f"{found['id']}: {found['nodes'][0]['html'][:200]}"
            for found in self.driver.execute_async_script(script)["violations"]
        ]

    def too_wide(self) -> int:
        return self.driver.execute_script("return document.documentElement.scrollWidth - innerWidth")


@pytest.fixture
def visit(chromium: Callable[..., Any], site: Site) -> Callable[..., Visitor]:
    def start(name: str, width: int = 1400, height: int = 1300) -> Visitor:
        return Visitor(chromium(width, height), site, name).log_in()

    return start


def test_without_a_login_there_is_no_page(site: Site) -> None:
    import httpx

    for path in ("/gauntlet/", "/gauntlet/api/models", f"/gauntlet/api/models/{MODEL}/nights"):
        assert httpx.get(site.url + path, trust_env=False, timeout=30).status_code == 401


@pytest.mark.parametrize(("theme", "width"), [("light", 1400), ("dark", 1400), ("light", 390)])
def test_every_view_opens_and_fits(visit: Callable[..., Visitor], shots: Path, theme: str, width: int) -> None:
    who = visit("vera", max(width, 600)).open(theme=theme)
    if width < 600:
        who.narrow(width)
    for name in VIEWS:
        who.tab(name)
        assert who.driver.execute_script("return document.documentElement.dataset.theme") == theme
        assert who.too_wide() <= 0, f"{name} is wider than the window"
        assert who.barriers() == []
        who.driver.save_screenshot(str(shots / f"{theme}-{width}-{name}.png"))
    assert who.complaints() == []
    assert len(who.texts("#tabs button")) == len(VIEWS)


def test_a_long_name_of_a_feature_fits_a_telephone(visit: Callable[..., Visitor]) -> None:
    who = visit("vera", 600).open()
    who.narrow(390)
    who.tab("drift")
    who.driver.execute_script(
        "document.querySelectorAll('#panel option').forEach((one) => (one.text = 'x'.repeat(90)))"
    )
    assert who.too_wide() <= 0


def test_without_its_head_the_page_says_why_and_shows_the_rest(visit: Callable[..., Visitor]) -> None:
    who = visit("vera")
    script = """
        const real = window.fetch;
        const damaged = () => Promise.resolve(new Response("the spec is damaged", { status: 503 }));
        window.fetch = (url, more) => (/models\\/[a-z_]+$/.test(url) ? damaged() : real(url, more));"""
    command = "Page.addScriptToEvaluateOnNewDocument"
    added = who.driver.execute_cdp_cmd(command, {"source": script})
    try:
        who.open()
        assert who.one("#serving .notice.bad[role=alert]").text == "the spec is damaged"
        who.one("#panel .night")
        assert who.texts("#fresh") == ["not refreshed: the spec is damaged"]
    finally:
        who.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.mark.parametrize(("kind", "view"), [("monitor", "Alerts"), ("drift_check", "Drift"), ("canary", "Canary")])
def test_who_comes_from_a_dag_sees_what_it_is_about(visit: Callable[..., Visitor], kind: str, view: str) -> None:
    who = visit("vera").open(f"/gauntlet/?dag={MODEL}__{kind}")
    who.until(lambda: who.texts("#tabs [aria-selected=true]") == [view], view)


def test_on_a_dag_that_is_not_gauntlets_the_page_says_so(visit: Callable[..., Visitor]) -> None:
    who = visit("vera").open("/gauntlet/?dag=somebody_elses")
    assert "somebody_elses is no model of Gauntlet" in who.one("#serving .notice[role=status]").text


def test_the_audit_trail_shows_decisions_and_on_demand_every_record(visit: Callable[..., Visitor]) -> None:
    who = visit("vera").open()
    who.tab("audit")
    assert not any(text.startswith("recorded") for text in who.texts("#panel tbody td:nth-child(4)"))
    who.one("#panel select option[value=all]").click()
    who.until(lambda: "recorded Alert" in who.texts("#panel tbody td:nth-child(4)"), "every record")


def test_the_navigation_entry_the_dag_and_its_run_each_have_the_page(
    visit: Callable[..., Visitor], site: Site, shots: Path
) -> None:
    who = visit("vera").open("/")
    who.until(
        lambda: any("Gauntlet" in text for text in who.texts("nav a, nav button, a[href*=gauntlet]")), "its entry"
    )
    who.open("/plugin/gauntlet").into_frame().tab("nights")
    assert len(who.texts(".night")) == NIGHTS
    for kind, path in {
        "dag": f"/dags/{site.dag}/plugin/gauntlet-dag",
        "run": f"/dags/{site.dag}/runs/{site.run.replace('+', '%2B')}/plugin/gauntlet-run",
    }.items():
        who.driver.switch_to.default_content()
        who.open(path).into_frame()
        who.one("#panel .strip")
        who.driver.switch_to.default_content()
        who.driver.save_screenshot(str(shots / f"airflow-{kind}.png"))
    who.into_frame()
    assert site.run in who.texts("#panel .mono")[0]


def test_by_keyboard_alone(visit: Callable[..., Visitor]) -> None:
    from selenium.webdriver.common.keys import Keys

    who = visit("vera").open()
    who.tab("nights")
    who.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    who.one("#panel .gauge")
    assert who.driver.switch_to.active_element.text == "Gates"
    who.driver.switch_to.active_element.send_keys(Keys.END)
    who.until(lambda: who.driver.switch_to.active_element.text == "Audit", "the last view")
    who.driver.switch_to.active_element.send_keys("3")
    who.one("#panel canvas")
    who.driver.back()
    who.until(lambda: who.texts("#tabs [aria-selected=true]") == ["Audit"], "the view before")


def test_a_viewer_sees_the_buttons_and_cannot_press_them(visit: Callable[..., Visitor], site: Site) -> None:
    who = visit("vera").open()
    buttons = {name: who.one(f"[data-action={name}]") for name in ("rollback", "pause", "clear_quarantine")}
    assert not any(button.is_enabled() for button in buttons.values())
    assert "viewer" in buttons["rollback"].get_attribute("title")
    script = """
        const [address, headers, done] = arguments;
        const body = JSON.stringify({ action: "pause", reason: "because I can" });
        fetch(address, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body })
          .then((response) => done(response.status));"""
    address = f"{site.url}/gauntlet/api/models/{MODEL}/actions"
    assert who.driver.execute_async_script(script, address, {"X-Gauntlet": "act"}) == 403


def test_an_order_without_the_pages_header_is_refused_even_for_an_admin(
    visit: Callable[..., Visitor], site: Site
) -> None:
    who = visit("ada").open()
    script = """
        const [address, done] = arguments;
        const body = JSON.stringify({ action: "pause", reason: "from elsewhere" });
        fetch(address, { method: "POST", headers: { "Content-Type": "application/json" }, body })
          .then((response) => done(response.status));"""
    assert who.driver.execute_async_script(script, f"{site.url}/gauntlet/api/models/{MODEL}/actions") == 403


def test_an_admin_clears_a_quarantine_and_sees_it_in_the_log(visit: Callable[..., Visitor], shots: Path) -> None:
    who = visit("ada").open()
    who.click("[data-action=clear_quarantine]")
    who.one("dialog[open] textarea").send_keys("no")
    who.click("dialog[open] button[type=submit]")
    assert who.one("dialog[open] textarea").get_attribute("validationMessage")
    who.one("dialog[open] textarea").send_keys(f": {WHY}")
    who.driver.save_screenshot(str(shots / "act-dialog.png"))
    who.click("dialog[open] button[type=submit]")
    who.one(".notice.good")
    who.until(lambda: not who.texts("[data-action=clear_quarantine]"), "no quarantine any more")
    who.driver.save_screenshot(str(shots / "act-done.png"))
    who.tab("audit")
    newest = who.texts("#panel tbody tr:first-child td")
    assert newest[2] == "ada"
    assert "Quarantine" in newest[3]


def test_a_user_pauses_the_canary_in_their_own_name(visit: Callable[..., Visitor]) -> None:
    who = visit("uma").open()
    who.click("[data-action=pause]")
    who.one("dialog[open] textarea").send_keys("support is looking at a complaint")
    who.click("dialog[open] button[type=submit]")
    who.one(".notice.good")
    who.tab("canary")
    assert any("uma" in text and "complaint" in text for text in who.texts("#panel tr"))


def test_it_refreshes_itself(visit: Callable[..., Visitor]) -> None:
    who = visit("vera").open()
    who.tab("nights")
    before = who.texts("#fresh")
    who.until(lambda: who.texts("#fresh") != before and "as of" in who.texts("#fresh")[0], "a later time")


def test_links_leave_the_frame_that_airflow_puts_the_page_in(visit: Callable[..., Visitor], site: Site) -> None:
    who = visit("vera").open(f"/plugin/gauntlet/gauntlet/?dag={site.dag}&run={site.run.replace('+', '%2B')}")
    who.into_frame()
    who.one("#panel .gauge")
    handles = set(who.driver.window_handles)
    link = next(one for one in who.driver.find_elements("css selector", "#panel a") if one.text == "MLflow run")
    link.click()
    who.until(lambda: len(who.driver.window_handles) > len(handles), "a new window")
    airflow = next(one for one in who.driver.find_elements("css selector", "#panel a") if one.text == "Airflow run")
    airflow.click()
    who.driver.switch_to.default_content()
    who.until(lambda: f"/dags/{site.dag}/runs/" in who.driver.current_url, "Airflow's own page of the run")


LARGE_PICTURE_LEFT = """
const done = arguments[arguments.length - 1];
import("/gauntlet/static/charts.js").then(({ chart, sweep }) => {
  const host = document.createElement("div");
  document.body.append(host);
  const names = [...Array(200).keys()].map(String);
  const data = names.flatMap((x) => names.map((y) => [x, y, Math.random()]));
  chart(host, "large", () => ({
    xAxis: { type: "category", data: names },
    yAxis: { type: "category", data: names },
    visualMap: { min: 0, max: 1 },
    series: [{ type: "heatmap", data, progressive: data.length }],
  }));
  requestAnimationFrame(() => {
    host.remove();
    sweep();
    setTimeout(done, 500);
  });
});
"""


def test_who_leaves_while_a_large_picture_is_painted_leaves_nothing_behind(visit: Callable[..., Visitor]) -> None:
    who = visit("vera").open()
    who.one("canvas, .night")
    who.driver.execute_async_script(LARGE_PICTURE_LEFT)
    assert who.complaints() == []
