"""The page in a real browser: somebody types, hears, sees the word that is spoken, and takes files along."""

import shutil

import numpy as np
import pytest

from fastvits.audio.files import pcm16
from fastvits.voices import DEFAULT_VOICE
from tests.serving.servers import running

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")

TEXT = "Hello, my dog is cute. So is mine."


@pytest.fixture(scope="module")
def server():
    with running({DEFAULT_VOICE: DEFAULT_VOICE}) as made:
        made.engine.voices.preload(DEFAULT_VOICE)
        yield made


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, downloads):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
        "--window-size=900,900",
    ):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


def wait(browser, condition, seconds=60):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds, 0.02).until(condition)


def find(browser, name):
    return browser.find_element("id", name)


def downloaded(browser, folder, name):
    """What a link gives that is clicked."""
    link = find(browser, name)
    link.click()
    path = folder / link.get_attribute("download")
    wait(browser, lambda b: path.exists())
    return path.read_bytes()


def test_somebody_types_and_hears(server, browser, downloads):
    from selenium.webdriver.common.keys import Keys

    browser.get(server.url)
    wait(browser, lambda b: find(b, "voice").get_attribute("value") == DEFAULT_VOICE)
    text = find(browser, "text")
    text.clear()
    text.send_keys(TEXT)
    # From here on without a mouse: the button is reached by the keyboard.
    find(browser, "seed").send_keys("7", Keys.TAB)
    for _ in range(5):
        if browser.switch_to.active_element.get_attribute("id") == "speak":
            break
        browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.get_attribute("id") == "speak"
    browser.execute_script("""
        window.marked = [];
        new MutationObserver(() => {
          for (const mark of document.querySelectorAll("#said mark"))
            if (window.marked.at(-1) !== mark.textContent) window.marked.push(mark.textContent);
        }).observe(document.getElementById("said"), { childList: true });
    """)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait(browser, lambda b: "s, first sound after" in find(b, "status").text)
    marked, words = browser.execute_script("return window.marked"), TEXT.split()
    # A busy browser draws few pictures a second and may miss a short word; what it marks is in order.
    assert len(marked) >= len(words) - 2, f"only {marked} were marked while they were heard"
    following = iter(words)
    assert all(word in following for word in marked), marked
    assert find(browser, "said").text == TEXT

    wav = downloaded(browser, downloads, "wav")
    speaker = server.engine.voices.loaded()[DEFAULT_VOICE]
    audio = np.concatenate(list(speaker.stream(TEXT, seed=7)))
    assert wav[:4] == b"RIFF"
    assert len(wav) - 44 == pytest.approx(2 * len(audio) * 24000 / speaker.sampling_rate, abs=4)
    assert np.abs(np.frombuffer(wav[44:], "<i2")).max() == pytest.approx(np.abs(pcm16(audio)).max(), rel=0.1)
    subtitles = downloaded(browser, downloads, "srt").decode()
    assert subtitles.startswith("1\n00:00:00,")
    assert " ".join(line for line in subtitles.splitlines() if line[:1].isalpha()) == TEXT
    drawn = "const c = document.getElementById('wave'); return c.getContext('2d').getImageData(0, 0, c.width, c.height)"
    assert browser.execute_script(f"{drawn}.data.some((value) => value > 0)")


def test_what_is_wrong_is_said(server, browser):
    browser.get(server.url)
    wait(browser, lambda b: find(b, "voice").get_attribute("value") == DEFAULT_VOICE)
    text = find(browser, "text")
    text.clear()
    text.send_keys("...")
    find(browser, "speak").click()
    wait(browser, lambda b: "nothing to say" in find(b, "status").text)
    assert "fault" in find(browser, "status").get_attribute("class")


def test_stop_ends_the_work(server, browser):
    browser.get(server.url)
    wait(browser, lambda b: find(b, "voice").get_attribute("value") == DEFAULT_VOICE)
    script = "document.getElementById('text').value = arguments[0]"
    browser.execute_script(script, " ".join(["Hello, my dog is cute."] * 150))
    find(browser, "speak").click()
    wait(browser, lambda b: b.execute_script("return speech !== null && speech.length > 0"))
    find(browser, "stop").click()
    assert find(browser, "status").text == "Stopped."
    wait(browser, lambda b: len(server.engine.scheduler) == 0)
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE" and "400" not in str(entry)]
    assert errors == []
