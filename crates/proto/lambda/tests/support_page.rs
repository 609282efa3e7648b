//! The committed page of supported operations is the one that the table gives.

#[test]
fn the_page_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/lambda-api.md");
    let page = proto_lambda::support_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/lambda-api.md is old: run with UPDATE_DOCS=1"
    );
}
