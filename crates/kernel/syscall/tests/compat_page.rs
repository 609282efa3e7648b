//! `docs/compat.md` says what the table says. `UPDATE_DOCS=1` writes it anew.

#[test]
fn the_page_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/compat.md");
    let page = kernel_syscall::compat_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/compat.md is not what the table says: run `make docs`"
    );
}
