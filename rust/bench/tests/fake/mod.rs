//! A server of a few lines that can be told to stall: what a load generator has to notice.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use imfast_wire::frames::client::{Target, Verb};
use imfast_wire::frames::proto;
use imfast_wire::frames::row::write_row_prefix;
use imfast_wire::frames::server::{Limits, Row, ServerBody, ServerFrame};
use imfast_wire::tcp::{self, Decoded};

/// A stall: nothing is served for `length`, once, `after` the first message.
#[derive(Clone, Copy)]
pub(crate) struct Stall {
    pub(crate) after: Duration,
    pub(crate) length: Duration,
}

#[derive(Default)]
struct State {
    /// User → its connection's writing half. The lock is what a stall holds.
    users: Mutex<HashMap<String, TcpStream>>,
    stalled: Mutex<Option<Stall>>,
}

/// Serves framed TCP until the test ends; a token is its user's name. Returns the port.
pub(crate) fn serve(stall: Option<Stall>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let state = Arc::new(State {
        stalled: Mutex::new(stall),
        ..State::default()
    });
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            socket.set_nodelay(true).expect("a TCP socket");
            let state = Arc::clone(&state);
            thread::spawn(move || connection(socket, &state));
        }
    });
    port
}

fn connection(mut socket: TcpStream, state: &Arc<State>) {
    let (mut input, mut user) = (Vec::new(), String::new());
    let mut chunk = [0; 4096];
    while let Ok(bytes @ 1..) = socket.read(&mut chunk) {
        input.extend_from_slice(&chunk[..bytes]);
        while let Ok(Decoded::Frame { consumed, payload }) = tcp::decode(&input, 1 << 16) {
            let frame = proto::decode_client(payload).expect("a frame of ours");
            match frame.verb {
                Verb::Connect { token, .. } => {
                    user = token.into_owned();
                    welcome(&user, frame.id, &socket, state);
                }
                Verb::Send(send) => {
                    let Target::User(to) = &send.to else {
                        panic!("{:?}", send.to)
                    };
                    deliver(&user, to, frame.id, state);
                }
                other => panic!("{other:?}"),
            }
            input.drain(..consumed);
        }
    }
}

fn welcome(user: &str, id: u64, socket: &TcpStream, state: &State) {
    let mut users = state.users.lock().expect("no panic");
    let writer = socket.try_clone().expect("a descriptor");
    let writer = users.entry(user.into()).or_insert(writer);
    write(
        writer,
        id,
        ServerBody::Connected {
            user: user.into(),
            session: "s".into(),
            server: "n1.w0".into(),
            heartbeat_ms: 25_000,
            server_time_ms: 0,
            limits: Limits::default(),
        },
    );
}

fn deliver(from: &str, to: &str, id: u64, state: &Arc<State>) {
    if let Some(stall) = state.stalled.lock().expect("no panic").take() {
        let state = Arc::clone(state);
        thread::spawn(move || {
            thread::sleep(stall.after);
            let _held = state.users.lock().expect("no panic");
            thread::sleep(stall.length);
        });
    }
    let mut users = state.users.lock().expect("no panic");
    let mut row = Vec::new();
    write_row_prefix(&mut row, "d.x", 1, 1, from, 1);
    let sent = ServerBody::Sent {
        conversation: "d.x".into(),
        seq: 1,
        message_id: 1,
        partition: 0,
        position: 1,
        timestamp_ms: 1,
        duplicate: false,
    };
    for (user, id, body) in [
        (from, id, sent),
        (from, 0, ServerBody::Row(Row::Message(&row))),
        (to, 0, ServerBody::Row(Row::Message(&row))),
    ] {
        write(users.get_mut(user).expect("connected"), id, body);
    }
}

fn write(socket: &mut TcpStream, id: u64, body: ServerBody<'_>) {
    let mut out = Vec::new();
    tcp::frame_with(&mut out, |out| {
        proto::encode_server(&ServerFrame { id, body }, out);
    });
    // A generator that has finished is no failure.
    let _ = socket.write_all(&out);
}
