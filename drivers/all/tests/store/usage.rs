//! What images take, and what they share.

use crate::stand::{Blob, DRIVERS, Stand, install};
use strata_image::usage::usage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_added_up() {
    if crate::stand::is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = Stand::filled(driver, Blob::Plain).await;
        let layers = stand.open();
        install(&layers, &stand.tars[..2], Blob::Plain, "below").await;
        let report = usage(&layers, None).await.unwrap();
        assert_eq!((report.images.len(), report.layers.len()), (2, 4));
        for image in &report.images {
            assert_eq!(
                image.all.contents,
                image.exclusive.contents + image.shared.contents
            );
            let tars: u64 = stand.tars[..image.layers.len()]
                .iter()
                .map(|tar| tar.len() as u64)
                .sum();
            assert_eq!((image.all.tar, image.all.blob), (tars, tars));
            assert!(image.all.journal > 0 && image.all.inodes > 0);
        }
        let below = report
            .images
            .iter()
            .find(|image| image.names == ["below:latest"]);
        assert_eq!(below.unwrap().exclusive.contents, 0);
        let image = below.unwrap().id;
        let one = usage(&layers, Some(&image)).await.unwrap();
        assert_eq!((one.images.len(), one.layers.len()), (1, 2));
        assert_eq!(one.layers[0].images.len(), 2);
        let json = serde_json::to_value(&one).unwrap();
        assert_eq!(json["images"][0]["layers"].as_array().unwrap().len(), 2);
    }
}
