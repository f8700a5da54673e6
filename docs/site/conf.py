"""How Sphinx makes the site; `build.py` beside this file starts it."""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tools")]

from reference import skip_member  # noqa: E402
from release import read_release  # noqa: E402

RELEASE = read_release(ROOT)

project = "quickstudy"
author = "The quickstudy contributors"
copyright = f"{author}. Apache-2.0"
version = release = RELEASE.version
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "equations",
]

# Pages.
highlight_language = "text"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
html_math_renderer = "svg"
suppress_warnings = ["config.cache"]  # the gallery's settings hold functions
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Reference.
default_role = "py:obj"  # docstrings have single backticks, as Markdown
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
toc_object_entries_show_parents = "hide"
python_display_short_literal_types = True
python_use_unqualified_type_names = True

# Tutorials.
sphinx_gallery_conf = {
    "examples_dirs": [str(ROOT / "examples")],
    "gallery_dirs": ["tutorials"],
    "filename_pattern": r"\.py$",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "within_subsection_order": "pages.ReadingOrder",
    "copyfile_regex": r"index\.rst",
    "capture_repr": ("_repr_html_", "__repr__"),
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "min_reported_time": 10_000,
    "write_computation_times": False,
}

# Looks.
html_theme = "pydata_sphinx_theme"
html_title = "quickstudy"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "quickstudy"},
    "show_prev_next": True,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc", "sg_download_links"],
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "changelog": []}


def setup(app: Any) -> None:
    app.connect("autodoc-skip-member", skip_member)
