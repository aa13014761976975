//! What gives a path of an image of four layers, and what hides what, as it is told.

use crate::stand::{Blob, Stand};
use strata_image::explain::{Explanation, Verdict, explain};
use strata_store::Layers;

fn ask(layers: &Layers, path: &str) -> Explanation {
    let image = layers.store().facts().images().unwrap()[0].id;
    explain(layers.store(), &image, path).unwrap()
}

fn golden(layers: &Layers, path: &str, expected: &str) {
    let told = ask(layers, path).to_string();
    assert_eq!(told.trim_end(), expected.trim(), "\n{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_are_explained() {
    if crate::stand::is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::None).await;
    let layers = stand.open();
    let expected: String = include_str!("explain.txt").into();
    for part in expected.split("\n\n") {
        let (path, _) = part.trim().split_once('\n').unwrap();
        golden(&layers, path, part);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_verdict_is_as_the_tree_has_it() {
    if crate::stand::is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::None).await;
    let layers = stand.open();
    let verdict = |path: &str| ask(&layers, path).verdict;
    assert_eq!(verdict("/"), Verdict::Present);
    assert_eq!(verdict("etc//passwd/"), Verdict::Present);
    assert_eq!(verdict("/../etc/passwd"), Verdict::Present);
    assert_eq!(verdict("/var/cache/old"), Verdict::Deleted);
    assert_eq!(verdict("/etc/hosts"), Verdict::Deleted);
    assert_eq!(verdict("/nothing"), Verdict::Never);
    assert_eq!(verdict("/srv/loop/x"), Verdict::Loop);
    let json = serde_json::to_value(ask(&layers, "/usr/bin/tool")).unwrap();
    assert_eq!(json["given"]["number"], 2);
    assert_eq!(json["given"]["entry"]["size"], 11);
    assert_eq!(json["covered"][0]["cover"]["by"], "name");
    assert_eq!(json["links"][0], "/usr/bin/alias");
}

/// An image may come from anybody, and its words go to a terminal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_control_character_is_shown() {
    if crate::stand::is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::None).await;
    let layers = stand.open();
    let mut explanation = ask(&layers, "/srv/data\u{1b}[2J");
    assert!(explanation.to_string().starts_with("/srv/data\\u{1b}[2J\n"));
    explanation.given = ask(&layers, "/srv/data").given;
    let made = &mut explanation.given.as_mut().unwrap().layer.created_by;
    *made = Some("RUN \u{1b}]0;x\u{7}\n  entry     forged".to_owned());
    explanation.verdict = Verdict::Present;
    let told = explanation.to_string();
    assert!(
        !told
            .chars()
            .any(|letter| letter.is_control() && letter != '\n'),
        "{told:?}"
    );
    assert!(told.contains("\\u{1b}]0;x\\u{7}\\n  entry"), "{told:?}");
}
