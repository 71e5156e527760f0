//! The messages of `proto/`, as the build generates them. Nothing outside `domain` sees these types.

include!(concat!(env!("OUT_DIR"), "/waylog.v1.rs"));
