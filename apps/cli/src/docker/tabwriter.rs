//! Columns aligned as Docker's tables are.
//!
//! A cell is ended by a tab. A column is a run of consecutive lines that have a tab-ended cell at
//! that place; it is as wide as its longest cell and the padding, and at least the minimum. What
//! follows the last tab of a line belongs to no column and is not padded. Source: Go's
//! `text/tabwriter` with the arguments of docker/cli (10, 1, 3, ' ', 0).

const MINIMUM_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Aligns the tab-separated cells of `text`.
pub(crate) fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text
        .split(['\n', '\u{c}'])
        .map(|line| line.split(['\t', '\u{b}']).collect())
        .collect();
    let mut out = String::with_capacity(text.len() * 2);
    let mut widths = Vec::new();
    write_block(&lines, &mut widths, &mut out);
    // The text after the last line break is no line.
    out.pop();
    out
}

/// Writes `lines`, of which the first `widths.len()` columns have been measured.
fn write_block(lines: &[Vec<&str>], widths: &mut Vec<usize>, out: &mut String) {
    let column = widths.len();
    let has_cell = |line: &Vec<&str>| line.len() > column + 1;
    let mut rest = lines;
    while let Some(first) = rest.first() {
        let inside = has_cell(first);
        let end = rest
            .iter()
            .position(|line| has_cell(line) != inside)
            .unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        if inside {
            let widest = run
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0);
            widths.push((widest + PADDING).max(MINIMUM_WIDTH));
            write_block(run, widths, out);
            widths.pop();
        } else {
            for line in run {
                write_line(line, widths, out);
            }
        }
        rest = after;
    }
}

fn write_line(cells: &[&str], widths: &[usize], out: &mut String) {
    for (at, cell) in cells.iter().enumerate() {
        out.push_str(cell);
        if at + 1 < cells.len() {
            let padding = widths[at].saturating_sub(cell.chars().count());
            out.extend(std::iter::repeat_n(' ', padding));
        }
    }
    out.push('\n');
}
