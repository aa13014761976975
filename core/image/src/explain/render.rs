//! An explanation for people: a word and what it says of it, a line each.

use super::{Cover, End, EntryOf, Explanation, LayerOf, Said, Verdict};
use crate::printable;
use std::fmt;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An image may come from anybody.
        writeln!(f, "{}", printable(&self.asked))?;
        let mut line = |word: &str, text: String| writeln!(f, "  {word:<9} {}", printable(&text));
        for hop in &self.hops {
            line(
                "through",
                format!("{} -> {} (layer {})", hop.link, hop.target, hop.in_layer),
            )?;
        }
        if self.path != self.asked {
            line("path", self.path.clone())?;
        }
        match (self.verdict, &self.given) {
            (Verdict::Loop, _) => line("status", "links lead in a circle".into())?,
            (Verdict::Never, _) => {
                line("status", "not in the image: no layer ever had it".into())?;
            }
            (_, Some(given)) => {
                line("layer", self.layer(&given.layer))?;
                if let Some(made) = &given.layer.created_by {
                    line("made by", made.clone())?;
                }
                line("entry", entry(given))?;
            }
            (_, None) => line("status", "not in the image: it was deleted".into())?,
        }
        if let Some(End { path, in_layer }) = &self.leads_to {
            line(
                "leads to",
                match (path, in_layer) {
                    (Some(path), Some(number)) => format!("{path} (layer {number})"),
                    (Some(path), None) => format!("{path}, which is not in the image"),
                    (None, _) => "itself, in a circle".to_owned(),
                },
            )?;
        }
        if !self.links.is_empty() {
            line("also as", self.links.join(", "))?;
        }
        for said in &self.shares {
            line("shares", self.with_entry(said))?;
        }
        for covered in &self.covered {
            line("hidden", self.with_entry(&covered.said))?;
            let by = match &covered.cover {
                Cover::Name(path) => format!("{path} of layer {}", covered.in_layer),
                Cover::Whiteout(path) => {
                    format!("whiteout of {path} in layer {}", covered.in_layer)
                }
                Cover::Opaque(path) => format!("opaque {path} in layer {}", covered.in_layer),
                Cover::Other(path) => {
                    format!(
                        "{path} of layer {}, which is no directory",
                        covered.in_layer
                    )
                }
            };
            line("  by", by)?;
        }
        Ok(())
    }
}

impl Explanation {
    fn layer(&self, layer: &LayerOf) -> String {
        let digest = layer.diff.to_string();
        format!("{} of {}, {}", layer.number, self.layers, &digest[..19])
    }

    fn with_entry(&self, said: &Said) -> String {
        format!("{}: {}", self.layer(&said.layer), entry(said))
    }
}

fn entry(said: &Said) -> String {
    let Some(entry) = &said.entry else {
        return "directory, named only in paths".to_owned();
    };
    let EntryOf {
        kind,
        mode,
        uid,
        gid,
        ..
    } = entry;
    let mut facts = vec![format!("{kind} {mode:04o} {uid}:{gid}")];
    facts.extend(entry.size.map(|size| format!("{size} bytes")));
    let time = jiff::Timestamp::from_second(entry.mtime);
    facts.extend(time.map(|time| time.to_string()));
    facts.extend(entry.target.iter().map(|target| format!("-> {target}")));
    facts.join(", ")
}
