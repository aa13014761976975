//! Searching: by the registry's own search, else by its catalogue.

use crate::{client, fake};
use serde_json::json;
use strata_image::document::Platform;
use strata_image::registry::{OciRegistry, SearchMethod};
use strata_image::testing::{Access, Fault};

#[tokio::test]
async fn registry_with_a_search_is_asked_for_it() {
    let fake = fake();
    fake.answer_searches(json!({"num_results": 2, "results": [
        {"name": "nginx", "description": "Web\nserver", "star_count": 9, "is_official": true, "is_automated": false},
        {"name": "a/nginx", "star_count": 1, "is_automated": true},
    ]}));
    let found = client()
        .search(&format!("{}/ngi nx&", fake.host()), 25)
        .await
        .unwrap();
    assert_eq!(
        (found.method, found.domain),
        (SearchMethod::Index, fake.host())
    );
    assert_eq!((found.rows[0].stars, found.rows[0].is_official), (9, true));
    assert_eq!(
        (
            found.rows[1].description.as_str(),
            found.rows[1].is_automated
        ),
        ("", true)
    );
    let target = &fake.requests()[0].target;
    assert_eq!(
        target, "/v1/search?q=ngi nx&&n=25",
        "decoded by the registry"
    );
}

#[tokio::test]
async fn registry_without_a_search_is_searched_by_its_pages() {
    let fake = fake();
    for name in ["bad", "peers/app", "peers/small", "x/peers", "z"] {
        fake.add_image(name, "1", &Platform::host(), &[]);
    }
    fake.set_page(2);
    let search = async |term: &str, limit| {
        let found = client()
            .search(&format!("{}/{term}", fake.host()), limit)
            .await
            .unwrap();
        assert_eq!(found.method, SearchMethod::Catalogue);
        let names = found.rows.into_iter().map(|row| row.name);
        let prefix = format!("{}/", fake.host());
        names
            .map(|name| name.replace(&prefix, ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        search("peers", 25).await,
        ["peers/app", "peers/small", "x/peers"]
    );
    assert_eq!(fake.count("_catalog"), 3);
    assert_eq!(search("peers", 1).await, ["peers/app"]);
    assert_eq!(fake.count("_catalog"), 4, "no more pages than needed");
    assert!(search("nosuch", 25).await.is_empty());
}

#[tokio::test]
async fn term_without_a_registry_asks_the_default_one() {
    let fake = fake();
    fake.add_image("team/app", "1", &Platform::host(), &[]);
    let settings = crate::settings().with_default_registry(fake.host());
    let registry = OciRegistry::new(settings, None).unwrap();
    let found = registry.search("app", 25).await.unwrap();
    assert_eq!(found.rows.len(), 1);
}

#[tokio::test]
async fn pages_do_not_lead_elsewhere_or_in_circles() {
    let (fake, other) = (fake(), fake_with_one());
    for to in [
        format!("http://{}/v2/_catalog", other.host()),
        "/v2/_catalog?n=1000".to_owned(),
    ] {
        let body = r#"{"repositories":["a"]}"#.to_owned();
        let link = vec![("Link", format!("<{to}>; rel=\"next\""))];
        fake.fail("_catalog", Fault::Status(200, link, body), 1);
        let found = client()
            .search(&format!("{}/a", fake.host()), 25)
            .await
            .unwrap();
        assert_eq!(found.rows.len(), 1, "{to}");
    }
    assert!(other.requests().is_empty());
}

fn fake_with_one() -> strata_image::testing::FakeRegistry {
    let fake = fake();
    fake.add_image("elsewhere/a", "1", &Platform::host(), &[]);
    fake
}

#[tokio::test]
async fn failures_of_a_search_are_told() {
    let fake = fake();
    let term = format!("{}/x", fake.host());
    for limit in [0, 101] {
        let error = client().search(&term, limit).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("is outside the range of [1, 100]"),
            "{error}"
        );
    }
    assert!(client().search("https://r.io/x", 5).await.is_err());
    fake.fail("/v1/", Fault::Status(500, vec![], String::new()), 1);
    let error = client().search(&term, 5).await.unwrap_err();
    assert!(
        error.to_string().contains("unexpected status 500"),
        "{error}"
    );
    fake.fail("_catalog", Fault::Status(200, vec![], "<html>".into()), 1);
    let error = client().search(&term, 5).await.unwrap_err();
    assert!(
        error.to_string().contains("answers with no list"),
        "{error}"
    );
    fake.allow(Access::Basic("a", "b"));
    let error = client().search(&term, 5).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("unauthorized: authentication required"),
        "{error}"
    );
}
