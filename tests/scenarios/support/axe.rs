//! What axe-core, the checker of accessibility, finds wrong in a page.

use std::path::Path;

use serde_json::Value;

use super::browser::Browser;

/// Serious and critical ones; the others are advice.
const CHECK: &str = "
    const done = arguments[arguments.length - 1];
    axe.run(document, { resultTypes: ['violations'] }).then(
        ({ violations }) => done(violations
            .filter((one) => one.impact === 'serious' || one.impact === 'critical')
            .map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.target.join(' ')).join(', ')}`)),
        (error) => done([String(error)]));";

impl Browser {
    /// Fails if a person with a screen reader, a keyboard or weak eyes would be stuck.
    pub async fn is_accessible(&self, name: &str) {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("web/node_modules/axe-core/axe.min.js");
        let axe = std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{}: {e}: run npm ci in web/", path.display()));
        self.run(&axe).await;
        let found = self.client.execute_async(CHECK, vec![]).await;
        let found = found.expect("axe runs");
        assert_eq!(found, Value::Array(Vec::new()), "accessibility of {name}");
    }
}
