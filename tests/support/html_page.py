"""A report's page, parsed."""

from html.parser import HTMLParser

VOID = {"meta", "img", "line", "rect", "br", "link", "input"}


class Page(HTMLParser):
    """Checks that tags close in order; collects sections, text, attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sections, self.texts, self.attributes, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag == "section":
            self.sections.append(dict(attributes)["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)
