"""Imports what programs may want while the component is built: what is not in its memory then is missing for good."""

from __future__ import annotations

from importlib import import_module

NAMES = """
    __future__ abc argparse array ast asyncio asyncio.taskgroups asyncio.timeouts base64 binascii bisect builtins
    calendar cmath codecs codeop collections collections.abc concurrent.futures configparser contextlib contextvars
    copy copyreg csv dataclasses datetime decimal difflib dis encodings.ascii encodings.cp1252 encodings.idna
    encodings.latin_1 encodings.utf_16 encodings.utf_16_le encodings.utf_16_be encodings.utf_32 encodings.utf_8_sig
    encodings.unicode_escape encodings.raw_unicode_escape encodings.hex_codec encodings.base64_codec
    encodings.rot_13 encodings.punycode enum errno fnmatch fractions functools gc genericpath getopt gettext glob
    graphlib gzip hashlib heapq hmac html html.entities html.parser importlib importlib.metadata importlib.resources
    importlib.util inspect io ipaddress itertools json keyword linecache locale logging marshal math numbers opcode
    operator optparse os os.path pathlib pickle pkgutil platform posixpath pprint queue quopri random re reprlib
    sched secrets selectors shlex shutil signal stat statistics string string.templatelib stringprep struct sys
    tempfile textwrap threading time timeit token tokenize tomllib traceback types typing unicodedata urllib.parse
    uuid warnings weakref xml.dom.minidom xml.etree.ElementTree zipfile zlib zoneinfo jinja2 jinja2.ext
    jinja2.sandbox jinja2.debug markupsafe
"""


def load() -> list[str]:
    """Import them; the names of those that this Python does not have."""
    missing = []
    for name in NAMES.split():
        try:
            import_module(name)
        except ImportError:
            missing.append(name)
    return missing
