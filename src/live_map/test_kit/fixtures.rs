//! What the server says, kept in the repository for the pages' tests.

/// Compares with `web/fixtures/{name}`, which the pages' tests read; writes it instead where
/// `WAYLOG_WRITE_FIXTURES` is set.
pub(crate) fn check_fixture(name: &str, bytes: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("web/fixtures")
        .join(name);
    if std::env::var_os("WAYLOG_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("written");
    }
    let committed = std::fs::read(&path).unwrap_or_default();
    assert!(
        committed == bytes,
        "{name} is not what the server says now; look at the difference after \
         WAYLOG_WRITE_FIXTURES=1 cargo test --lib fixtures"
    );
}

/// Messages one a line, in an array, so that a difference is easily read.
pub(crate) fn lines_of_json(messages: &[String]) -> Vec<u8> {
    format!("[\n{}\n]\n", messages.join(",\n")).into_bytes()
}
