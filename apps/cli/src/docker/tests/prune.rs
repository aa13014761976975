//! What a prune asks and tells, in the words of Docker 28.

use crate::docker::prune::{
    Prey, ask_images, ask_system, deleted_build_cache, deleted_images, is_yes, total,
};
use crate::docker::rows::DeletedItem;

#[test]
fn system_prune_says_what_goes() {
    let prey = [
        Prey::StoppedContainers,
        Prey::DanglingImages,
        Prey::UnusedBuildCache,
    ];
    assert_eq!(
        ask_system(&prey, &[]),
        "WARNING! This will remove:\n  - all stopped containers\n  - all dangling images\n  \
         - unused build cache\n\nAre you sure you want to continue? [y/N] "
    );
    assert_eq!(
        ask_system(
            &[Prey::UnusedImages, Prey::AllBuildCache],
            &["until=1h".to_owned(), "label=a=b".to_owned()]
        ),
        "WARNING! This will remove:\n  - all images without at least one container associated to \
         them\n  - all build cache\n\n  Items to be pruned will be filtered with:\n  - label=a=b\n  \
         - until=1h\n\nAre you sure you want to continue? [y/N] "
    );
    assert_eq!(
        ask_images(Prey::DanglingImages),
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] "
    );
}

#[test]
fn only_y_is_yes() {
    assert!(is_yes("y\n") && is_yes("Y"));
    assert!(!is_yes("") && !is_yes("n") && !is_yes("yes"));
}

#[test]
fn a_prune_lists_what_went() {
    let untagged = DeletedItem {
        untagged: "bk:1".to_owned(),
        ..DeletedItem::default()
    };
    let deleted = DeletedItem {
        deleted: "sha256:3e".to_owned(),
        ..DeletedItem::default()
    };
    assert_eq!(
        deleted_images(&[untagged, deleted]) + &total(7),
        "Deleted Images:\nuntagged: bk:1\ndeleted: sha256:3e\n\nTotal reclaimed space: 7B\n"
    );
    assert_eq!(
        deleted_images(&[]) + &total(0),
        "Total reclaimed space: 0B\n"
    );
    assert_eq!(
        deleted_build_cache(&["a".to_owned()]),
        "Deleted build cache objects:\na\n\n"
    );
}
