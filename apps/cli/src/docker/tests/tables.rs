//! Columns, cut text and quoted text.

use crate::docker::tabwriter::align;
use crate::docker::text::{ellipsis, quote};

#[test]
fn columns_are_ten_wide_or_three_wider_than_their_longest_cell() {
    assert_eq!(
        align("A\tB\tC\n1\t2\t3\n"),
        "A         B         C\n1         2         3\n"
    );
    assert_eq!(align("1234567\tx\n"), "1234567   x\n");
    assert_eq!(align("12345678\tx\n1\ty\n"), "12345678   x\n1          y\n");
}

#[test]
fn the_last_cell_is_not_padded_unless_it_is_empty() {
    assert_eq!(align("A\tlong long last\n"), "A         long long last\n");
    assert_eq!(align("A\tB\t\n"), "A         B         \n");
}

#[test]
fn a_column_ends_where_a_line_lacks_it() {
    // The first two lines share no column with the last two.
    assert_eq!(
        align("a-long-cell-indeed\tx\nnone\nb\ty\n"),
        "a-long-cell-indeed   x\nnone\nb         y\n"
    );
    // Within a column the next one ends by itself.
    assert_eq!(
        align("a\tlong-second-cell\tx\nb\ty\nc\ts\tz\n"),
        "a         long-second-cell   x\nb         y\nc         s         z\n"
    );
}

#[test]
fn width_counts_characters() {
    assert_eq!(align("äöüäöüäö\tx\n"), "äöüäöüäö   x\n");
    assert_eq!(align("漢字\tx\n"), "漢字        x\n");
}

#[test]
fn nothing_stays_nothing_and_a_tail_stays_a_tail() {
    assert_eq!(align(""), "");
    assert_eq!(align("\n"), "\n");
    assert_eq!(align("a\tb"), "a         b");
}

#[test]
fn text_is_cut_to_columns_of_which_wide_characters_take_two() {
    assert_eq!(ellipsis("12345", 5), "12345");
    assert_eq!(ellipsis("123456", 5), "1234…");
    assert_eq!(ellipsis("äääää", 5), "äääää");
    assert_eq!(ellipsis("ääääää", 5), "ääää…");
    assert_eq!(ellipsis("漢字漢", 5), "漢字…");
    assert_eq!(ellipsis("a漢字漢", 5), "a漢…");
    assert_eq!(ellipsis("漢字", 5), "漢字");
    assert_eq!(ellipsis("", 5), "");
}

#[test]
fn text_is_quoted_as_go_quotes() {
    assert_eq!(quote("bash"), "\"bash\"");
    assert_eq!(quote("it's \"a\\b\""), r#""it's \"a\\b\"""#);
    assert_eq!(quote("\t\n\r\u{7}\u{8}\u{b}\u{c}"), r#""\t\n\r\a\b\v\f""#);
    assert_eq!(
        quote("\u{1}\u{7f}\u{a0}\u{200b}"),
        r#""\x01\x7f\u00a0\u200b""#
    );
    assert_eq!(quote("\u{e0001}é漢…\u{301}"), "\"\\U000e0001é漢…\u{301}\"");
}
