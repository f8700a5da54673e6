from quickstudy.html import html_table


def test_text_of_every_cell_and_of_the_caption_is_escaped():
    table = html_table(["<i>"], [["<script>alert(1)</script>", "a & b"]], "<b>")
    assert "<script>" not in table
    assert "<caption>&lt;b&gt;</caption>" in table
    assert "<th>&lt;i&gt;</th>" in table
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td><td>a &amp; b</td>" in table
