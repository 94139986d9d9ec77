"""The reference of the settings has every field with a sentence."""

from config.reference import ReferenceRow, markdown_table, settings_reference


def test_every_setting_has_a_type_a_default_and_a_sentence() -> None:
    rows = settings_reference()
    assert len({row.field for row in rows}) == len(rows)
    for row in rows:
        assert row.type
        assert row.default
        assert row.description.endswith("."), row.field


def test_rows_say_what_the_schema_says() -> None:
    rows = settings_reference()
    assert (
        ReferenceRow(field="receive.port", type="integer", default="`11112`", description="TCP port to listen on; 0 takes a free one.")
        in rows
    )
    assert (
        ReferenceRow(
            field="receive.any_calling_ae_title",
            type="true or false",
            default="`false`",
            description="Accept every calling AE title. For a closed test network only.",
        )
        in rows
    )
    assert (
        ReferenceRow(field="destinations[c-store].port", type="integer", default="(required)", description="TCP port of the archive.")
        in rows
    )


def test_the_markdown_table_has_a_line_for_each_row() -> None:
    rows = settings_reference()
    lines = markdown_table(rows).splitlines()
    assert len(lines) == len(rows) + 2
    assert all(line.startswith(("| ", "|-")) for line in lines)
