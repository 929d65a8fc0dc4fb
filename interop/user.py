"""A person with a browser, as far as a login needs one: follows links, keeps cookies, fills forms."""

import html.parser
import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request

from processes import Failure

# What is typed into a field of this name.
TYPES = {"login": "ada", "username": "ada", "password": "lovelace"}
STEPS = 12


class _Forms(html.parser.HTMLParser):
    """The forms of a page: where each goes, and its fields as they are sent."""

    def __init__(self):
        super().__init__()
        self.forms = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.forms.append({"action": attributes.get("action") or "", "fields": {}, "buttons": {}})
        name = attributes.get("name")
        if tag not in ("input", "button") or not name or not self.forms:
            return
        value = attributes.get("value") or ""
        is_button = tag == "button" or attributes.get("type") == "submit"
        where = self.forms[-1]["buttons" if is_button else "fields"]
        where[name] = TYPES.get(name, value)


def visit(url, done=None):
    """Opens `url` and does what the pages ask for, until one asks for nothing; returns its text.

    `done` is the beginning of an address that is not opened but returned.
    """
    jar = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy())
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar), _Stop(done))
    body = None
    for _ in range(STEPS):
        headers = {"Referer": url} if body is not None else {}
        try:
            with browser.open(urllib.request.Request(url, body, headers), timeout=20) as page:
                text, url = page.read().decode(), page.url
        except _Stopped as stopped:
            return stopped.url
        except urllib.error.HTTPError as error:
            raise Failure(f"the browser met {error.code} at {url.split('?')[0]}: {error.read()[:300]}") from None
        parser = _Forms()
        parser.feed(text)
        if not parser.forms:
            return text
        form = parser.forms[0]
        # Of two ways on, not the one that gives up.
        fields = form["fields"] | {n: v for n, v in form["buttons"].items() if n not in ("abort", "cancel")}
        url = urllib.parse.urljoin(url, form["action"])
        body = urllib.parse.urlencode(fields).encode()
    raise Failure(f"the login does not end; it is at {url.split('?')[0]}")


class _Stopped(Exception):
    def __init__(self, url):
        super().__init__()
        self.url = url


class _Stop(urllib.request.HTTPRedirectHandler):
    def __init__(self, done):
        self.done = done

    def redirect_request(self, request, file, code, message, headers, url):
        if self.done and url.startswith(self.done):
            raise _Stopped(url)
        return super().redirect_request(request, file, code, message, headers, url)
