//! Patterns for references, as Go's `path.Match` takes them: `*` and `?` stand for anything but a
//! slash, `[a-z]` and `[^a-z]` for one character, a backslash takes the next one by itself.

use super::FilterError;

/// Whether all of `name` fits `pattern`.
pub(super) fn matches(pattern: &str, name: &str) -> Result<bool, FilterError> {
    let pattern: Vec<char> = pattern.chars().collect();
    let pieces =
        pieces(&pattern).ok_or_else(|| FilterError("syntax error in pattern".to_owned()))?;
    let name: Vec<char> = name.chars().collect();
    // Where in the name the pieces so far can have ended.
    let mut ends = vec![false; name.len() + 1];
    ends[0] = true;
    for piece in &pieces {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            if let Piece::Any = piece {
                let goes_on = at > 0 && next[at - 1] && name[at - 1] != '/';
                next[at] = ends[at] || goes_on;
            } else if at > 0 {
                next[at] = ends[at - 1] && piece.is_met_by(name[at - 1]);
            }
        }
        ends = next;
    }
    Ok(ends[name.len()])
}

enum Piece {
    Any,
    One,
    Exactly(char),
    Of {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Piece {
    fn is_met_by(&self, c: char) -> bool {
        match self {
            Self::Any | Self::One => c != '/',
            Self::Exactly(wanted) => c == *wanted,
            Self::Of { is_negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *is_negated
            }
        }
    }
}

/// `None` for a pattern that is none.
fn pieces(pattern: &[char]) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        pieces.push(match first {
            '*' => Piece::Any,
            '?' => Piece::One,
            '[' => class(&mut rest)?,
            '\\' => {
                let (escaped, after) = rest.split_first()?;
                rest = after;
                Piece::Exactly(*escaped)
            }
            c => Piece::Exactly(*c),
        });
    }
    Some(pieces)
}

fn class(rest: &mut &[char]) -> Option<Piece> {
    let is_negated = rest.first() == Some(&'^');
    if is_negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    while ranges.is_empty() || rest.first() != Some(&']') {
        let low = member(rest)?;
        let mut high = low;
        if rest.first() == Some(&'-') {
            *rest = &rest[1..];
            high = member(rest)?;
        }
        ranges.push((low, high));
    }
    *rest = &rest[1..];
    Some(Piece::Of { is_negated, ranges })
}

fn member(rest: &mut &[char]) -> Option<char> {
    let (mut first, mut after) = rest.split_first()?;
    if matches!(first, '-' | ']') {
        return None;
    }
    if *first == '\\' {
        (first, after) = after.split_first()?;
    }
    *rest = after;
    Some(*first)
}
