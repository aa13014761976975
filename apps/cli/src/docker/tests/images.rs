//! The order of images and of their names.

use super::clock;
use crate::docker::images::{self, ImageOptions};
use crate::docker::rows::ImageSummary;

fn image(id: &str, created: i64, tags: &[&str]) -> ImageSummary {
    ImageSummary {
        id: id.to_owned(),
        created,
        repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..ImageSummary::default()
    }
}

#[test]
fn the_newest_image_comes_first_and_names_are_in_order() {
    let mut all = [
        image("b", 1, &["old:1"]),
        image("d", 2, &["z:1", "a:2", "a:10", "localhost:5000/m:1"]),
        image("c", 2, &[]),
    ];
    images::sort(&mut all);
    let options = ImageOptions {
        format: Some("{{.ID}} {{.Repository}}:{{.Tag}}".to_owned()),
        ..ImageOptions::default()
    };
    assert_eq!(
        images::write(&all, &options, &clock(3)).unwrap(),
        "c <none>:<none>\nd a:10\nd a:2\nd localhost:5000/m:1\nd z:1\nb old:1\n"
    );
}

#[test]
fn a_repository_without_a_tag_has_a_row_or_one_a_digest() {
    let (first, second) = ("1".repeat(64), "2".repeat(64));
    let mut all = [image("a", 0, &["tagged:1"])];
    all[0].repo_digests = ["only", "only", "tagged"]
        .iter()
        .zip([&first, &second, &second])
        .map(|(name, digest)| format!("{name}@sha256:{digest}"))
        .collect();
    let rows = |shows_digests| {
        let options = ImageOptions {
            shows_digests,
            format: Some("{{.Repository}} {{.Tag}} {{json .Digest}}".to_owned()),
            ..ImageOptions::default()
        };
        images::write(&all, &options, &clock(0)).unwrap()
    };
    assert_eq!(rows(false), "tagged 1 \"<none>\"\nonly <none> \"\"\n");
    assert_eq!(
        rows(true),
        format!(
            "tagged 1 \"sha256:{second}\"\nonly <none> \"sha256:{first}\"\n\
             only <none> \"sha256:{second}\"\n"
        )
    );
}
