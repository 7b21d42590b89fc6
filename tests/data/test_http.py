"""Where redirects may lead."""

import urllib.error

import pytest

from qpsbgd.data.http import _redirected


@pytest.mark.parametrize(
    ("url", "location", "expected"),
    [
        ("http://a/x/y", "z", "http://a/x/z"),
        ("http://a/x", "https://b/y", "https://b/y"),
        ("https://a/x", "//b/y z", "https://b/y%20z"),
        ("https://a/x", "/y?q=1%20", "https://a/y?q=1%20"),
    ],
)
def test_redirect_on_the_web_is_followed(url, location, expected):
    assert _redirected(url, location) == expected


@pytest.mark.parametrize("location", ["http://a/x", "ftp://a/x", "file:///x", "FILE:///x", "", None])
def test_redirect_that_leaves_the_web_or_its_encryption_is_refused(location):
    with pytest.raises(urllib.error.URLError, match="redirect"):
        _redirected("https://a/x", location)
