//! A broker of long ago: it knows metadata without a cluster id, and nothing newer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bytes::{Buf, BufMut};

use super::kit::{options, refusal};

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;
const UNKNOWN_TOPIC: i16 = 3;
/// What Apache Kafka 0.10.0 could: API and newest version.
const KNOWN: [(i16, i16); 4] = [(0, 2), (1, 2), (METADATA, 1), (API_VERSIONS, 0)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_too_old_are_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, port));
        }
    });
    let mut options = options(&format!("127.0.0.1:{port}"));
    options.open_timeout = Duration::from_secs(5);
    let said = refusal(&options).await;
    assert!(
        said.contains("too old") && said.contains("Apache Kafka 2.4"),
        "{said}"
    );
}

/// Answers until the client hangs up.
fn serve(mut stream: TcpStream, port: u16) {
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        if stream.read_exact(&mut request).is_err() {
            return;
        }
        let mut request = &request[..];
        let (api, version) = (request.get_i16(), request.get_i16());
        let mut answer = Vec::new();
        answer.put_i32(request.get_i32());
        let client = request.get_i16().max(0);
        request.advance(usize::try_from(client).unwrap());
        match api {
            API_VERSIONS => {
                answer.put_i16(if version > 0 { UNSUPPORTED_VERSION } else { 0 });
                answer.put_i32(i32::try_from(KNOWN.len()).unwrap());
                for (api, newest) in KNOWN {
                    answer.put_i16(api);
                    answer.put_i16(0);
                    answer.put_i16(newest);
                }
            }
            METADATA => metadata(&mut answer, request, version, port),
            _ => return,
        }
        let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
        if stream.write_all(&[&length[..], &answer].concat()).is_err() {
            return;
        }
    }
}

/// One broker, this one, and none of the topics that were asked for.
fn metadata(answer: &mut Vec<u8>, mut request: &[u8], version: i16, port: u16) {
    let text = |answer: &mut Vec<u8>, text: &str| {
        answer.put_i16(i16::try_from(text.len()).unwrap());
        answer.put_slice(text.as_bytes());
    };
    answer.put_i32(1);
    answer.put_i32(1);
    text(answer, "127.0.0.1");
    answer.put_i32(i32::from(port));
    if version > 0 {
        answer.put_i16(-1);
        answer.put_i32(1);
    }
    let topics = request.get_i32().max(0);
    answer.put_i32(topics);
    for _ in 0..topics {
        let length = usize::try_from(request.get_i16()).unwrap();
        let name = String::from_utf8_lossy(&request[..length]).into_owned();
        request.advance(length);
        answer.put_i16(UNKNOWN_TOPIC);
        text(answer, &name);
        if version > 0 {
            answer.put_u8(0);
        }
        answer.put_i32(0);
    }
}
