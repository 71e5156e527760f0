//! What is measured, and what of it stands in the table.

/// A figure of the table.
pub struct Item {
    /// Its file under `results/`.
    pub name: &'static str,
    /// Roles of the server that is driven; `None` for what makes a stand of its own.
    pub roles: Option<&'static str>,
    /// Arguments of this program.
    pub args: &'static [&'static str],
    /// Figures that are shown, and what is said behind each.
    pub shown: &'static [(&'static str, &'static str)],
}

const INGEST: &[(&str, &str)] = &[
    ("fixes acknowledged", "fixes/s acknowledged"),
    ("acknowledged p50", "ms p50"),
    ("acknowledged p99", "ms p99"),
    ("server CPU a fix", "µs of server CPU a fix"),
];
const SINGLE: &[(&str, &str)] = &[
    ("requests", "requests/s acknowledged"),
    ("acknowledged p50", "ms p50"),
    ("acknowledged p99", "ms p99"),
    ("server CPU a request", "µs of server CPU a request"),
];
const TO_SOCKETS: &[(&str, &str)] = &[
    ("messages to sockets", "messages/s"),
    ("POST to socket p50", "ms p50"),
    ("POST to socket p99", "ms p99"),
    ("fixes shown", "of the fixes shown"),
];

/// All of them, in the order of the table.
pub const ALL: &[Item] = &[
    Item {
        name: "ingest-100",
        roles: Some("ingest,dispatch"),
        args: &["ingest", "--fixes", "100"],
        shown: INGEST,
    },
    Item {
        name: "ingest-1",
        roles: Some("ingest,dispatch"),
        args: &["ingest", "--fixes", "1", "--connections", "512"],
        shown: SINGLE,
    },
    Item {
        name: "ingest-1-paced",
        roles: Some("ingest,dispatch"),
        args: &[
            "ingest",
            "--fixes",
            "1",
            "--connections",
            "512",
            "--rate",
            "30000",
        ],
        shown: SINGLE,
    },
    Item {
        name: "ingest-100-all",
        roles: Some(""),
        args: &["ingest", "--fixes", "100"],
        shown: INGEST,
    },
    Item {
        name: "end-to-end",
        roles: Some(""),
        args: &["end-to-end"],
        shown: TO_SOCKETS,
    },
    Item {
        name: "fanout",
        roles: Some(""),
        args: &["fanout"],
        shown: TO_SOCKETS,
    },
    Item {
        name: "sink",
        roles: None,
        args: &["sink"],
        shown: &[
            ("fixes into Postgres", "fixes/s into Postgres"),
            ("server CPU a fix", "µs of server CPU a fix"),
            ("Postgres CPU a fix", "µs of Postgres CPU a fix"),
        ],
    },
    Item {
        name: "pipeline",
        roles: None,
        args: &["pipeline"],
        shown: &[
            ("fixes acknowledged", "fixes/s acknowledged"),
            ("fixes into Postgres", "fixes/s into Postgres"),
            ("longest lag of analytics", "s longest lag of analytics"),
            ("longest lag of live-map", "s of live-map"),
            ("longest lag of notifications", "s of notifications"),
            ("growth of memory, second half", "MiB/min growth of memory"),
            (
                "acknowledged and not in Postgres",
                "fixes missing at the end",
            ),
        ],
    },
    Item {
        name: "fences",
        roles: None,
        args: &["fences"],
        shown: &[
            ("judged without fences", "fixes/s judged without fences"),
            ("judged with fences", "fixes/s with them"),
            (
                "server CPU a fix with fences",
                "µs of server CPU a fix with them",
            ),
        ],
    },
    Item {
        name: "couriers",
        roles: None,
        args: &["couriers"],
        shown: &[
            ("couriers", "couriers"),
            ("server CPU a fix", "µs of server CPU a fix"),
            ("memory a courier seen", "B a courier seen"),
        ],
    },
    Item {
        name: "peers-100",
        roles: None,
        args: &["peers", "--fixes", "100"],
        shown: &[],
    },
    Item {
        name: "peers-1",
        roles: None,
        args: &["peers", "--fixes", "1", "--connections", "512"],
        shown: &[],
    },
    Item {
        name: "soak",
        roles: None,
        args: &["soak"],
        shown: &[
            ("faults", "faults"),
            ("different good fixes", "different fixes"),
            ("in Postgres", "in Postgres"),
            ("lost or wrong couriers", "lost or wrong"),
            ("doubled", "doubled"),
        ],
    },
];

impl Item {
    /// As a user would call it.
    pub fn command(&self) -> String {
        format!("loadtest {}", self.args.join(" "))
    }

    /// The server that it is measured with.
    pub fn server(&self) -> String {
        match self.roles {
            None => "its own".to_owned(),
            Some("") => "`serve`".to_owned(),
            Some(roles) => format!("`serve --roles {roles}`"),
        }
    }
}
