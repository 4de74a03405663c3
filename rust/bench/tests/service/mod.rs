//! A message service of one process and no disk, that can be told to break one promise once.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use imfast_wire::frames::client::{Group, Send, Target, Verb};
use imfast_wire::frames::proto;
use imfast_wire::frames::row::write_row_prefix;
use imfast_wire::frames::server::{Limits, Row, ServerBody, ServerFrame};
use imfast_wire::protobuf::put_bytes;
use imfast_wire::tcp::{self, Decoded};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A row is not pushed to one member.
    Lose,
    /// A row is pushed to one member twice.
    Repeat,
    /// A row is pushed to one member behind the conversation's next one.
    Swap,
    /// A row is pushed to one member with another id.
    Alter,
    /// A send is numbered twice.
    Number,
    /// Every `every`-th push ends its connection, and each connection's answer to a send may be
    /// missing: nothing is wrong with that.
    Break { every: u64 },
}

/// Where the fault was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) user: String,
    pub(crate) conversation: String,
    pub(crate) seq: u64,
}

#[derive(Default)]
struct Conversation {
    members: Vec<String>,
    rows: Vec<(bool, Vec<u8>)>,
    /// Key of sender → seq.
    keys: HashMap<String, u64>,
}

#[derive(Default)]
struct State {
    users: HashMap<String, TcpStream>,
    conversations: HashMap<String, Conversation>,
    /// Conversation and seq by position.
    log: Vec<(String, u64)>,
    fault: Option<(Fault, u64)>,
    pushes: u64,
    held: Option<(Hit, Vec<u8>)>,
    hit: Option<Hit>,
}

/// A running service.
pub(crate) struct Service {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

impl Service {
    /// Serves framed TCP until the test ends; a token is its user's name. The fault happens at
    /// the first push to a member after the `after`-th.
    pub(crate) fn start(fault: Option<(Fault, u64)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(Mutex::new(State {
            fault,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                socket.set_nodelay(true).expect("a TCP socket");
                let state = Arc::clone(&shared);
                thread::spawn(move || connection(socket, &state));
            }
        });
        Self { port, state }
    }

    /// Where the fault was, once it happened.
    pub(crate) fn hit(&self) -> Option<Hit> {
        self.state.lock().expect("no panic").hit.clone()
    }
}

fn connection(mut socket: TcpStream, state: &Mutex<State>) {
    let (mut input, mut user) = (Vec::new(), String::new());
    let mut chunk = [0; 4096];
    while let Ok(bytes @ 1..) = socket.read(&mut chunk) {
        input.extend_from_slice(&chunk[..bytes]);
        while let Ok(Decoded::Frame { consumed, payload }) = tcp::decode(&input, 1 << 16) {
            let frame = proto::decode_client(payload).expect("a frame of ours");
            let mut state = state.lock().expect("no panic");
            if let Verb::Connect { token, sync, .. } = &frame.verb {
                user = token.clone().into_owned();
                let writer = socket.try_clone().expect("a descriptor");
                state.users.insert(user.clone(), writer);
                state.welcome(&user, frame.id, sync);
            } else {
                state.serve(&user, frame.id, frame.verb);
            }
            drop(state);
            input.drain(..consumed);
        }
    }
}

impl State {
    fn welcome(&mut self, user: &str, id: u64, sync: &str) {
        let connected = ServerBody::Connected {
            user: user.into(),
            session: "s".into(),
            server: "n1.w0".into(),
            heartbeat_ms: 25_000,
            server_time_ms: 0,
            limits: Limits::default(),
        };
        self.write(user, id, connected);
        let from: usize = sync.parse().unwrap_or(0);
        let missed = self.log[from..].to_vec();
        for (conversation, seq) in missed {
            let members = &self.conversations[&conversation].members;
            if members.iter().any(|member| member == user) {
                self.push(user, &conversation, seq, false);
            }
        }
        let token = self.log.len().to_string().into();
        self.write(user, 0, ServerBody::CaughtUp { token });
    }

    fn serve(&mut self, user: &str, id: u64, verb: Verb<'_>) {
        match verb {
            Verb::Send(send) => self.send(user, id, &send),
            Verb::Group(Group::Create { key, members, .. }) => {
                let conversation = format!("g.{key}");
                let members = members.into_iter().map(String::from).collect();
                self.conversations
                    .entry(conversation.clone())
                    .or_default()
                    .members = members;
                let mut content = Vec::new();
                put_bytes(&mut content, 6, b"created");
                let seq = self.append(&conversation, user, true, &content);
                let created = ServerBody::Group {
                    conversation: conversation.as_str().into(),
                    seq,
                    members: Vec::new().into(),
                    more: false,
                };
                self.write(user, id, created);
            }
            Verb::History {
                conversation,
                after,
                limit,
                ..
            } => {
                let rows = self.conversations[&*conversation].rows.clone();
                let rows = rows.iter().skip(after.unwrap_or(0) as usize);
                let limit = limit.unwrap_or(50) as usize;
                let more = rows.len() > limit;
                let items: Vec<Row<'_>> = rows.take(limit).map(|row| as_row(row)).collect();
                self.write(
                    user,
                    id,
                    ServerBody::History {
                        items: items.into(),
                        more,
                    },
                );
            }
            Verb::Ping => self.write(user, id, ServerBody::Pong { server_time_ms: 0 }),
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, user: &str, id: u64, send: &Send<'_>) {
        let conversation = match &send.to {
            Target::User(peer) => {
                let (first, last) = (user.min(peer), user.max(peer));
                let conversation = format!("d.{first}-{last}");
                let members = vec![first.into(), last.into()];
                self.conversations
                    .entry(conversation.clone())
                    .or_default()
                    .members = members;
                conversation
            }
            Target::Group(group) => group.clone().into_owned(),
            Target::Conversation(_) => panic!("verify names users and groups"),
        };
        let known = self.conversations[&conversation]
            .keys
            .get(&*send.key)
            .copied();
        let seq = known.unwrap_or_else(|| {
            let mut content = Vec::new();
            send.write_content(&mut content);
            if self.strikes(Fault::Number) {
                let seq = self.append(&conversation, user, false, &content) + 1;
                self.hit = Some(hit(user, &conversation, seq));
            }
            self.append(&conversation, user, false, &content)
        });
        let keys = &mut self
            .conversations
            .get_mut(&conversation)
            .expect("made above")
            .keys;
        keys.insert(send.key.clone().into_owned(), seq);
        let sent = ServerBody::Sent {
            conversation: conversation.into(),
            seq,
            message_id: 1_000 + seq,
            partition: 0,
            position: self.log.len() as u64,
            timestamp_ms: 1,
            duplicate: known.is_some(),
        };
        self.write(user, id, sent);
    }

    fn append(&mut self, name: &str, from: &str, is_event: bool, content: &[u8]) -> u64 {
        let conversation = self.conversations.get_mut(name).expect("made before");
        let seq = conversation.rows.len() as u64 + 1;
        let mut row = Vec::new();
        write_row_prefix(&mut row, name, seq, 1_000 + seq, from, 1);
        row.extend_from_slice(content);
        conversation.rows.push((is_event, row));
        self.log.push((name.into(), seq));
        for member in conversation.members.clone() {
            self.push(&member, name, seq, true);
        }
        seq
    }

    /// Pushes a row to one member; `may_fail`: unless a fault prevents it.
    fn push(&mut self, user: &str, name: &str, seq: u64, may_fail: bool) {
        let row = self.conversations[name].rows[seq as usize - 1].clone();
        let frame = encoded(0, ServerBody::Row(as_row(&row)));
        let here = hit(user, name, seq);
        let follows = |held: &Hit| held.user == user && held.conversation == name;
        if let Some((_, held)) = self.held.take_if(|(held, _)| follows(held)) {
            self.write_bytes(user, &frame);
            self.write_bytes(user, &held);
            return;
        }
        self.pushes += u64::from(may_fail);
        if let Some((Fault::Break { every }, _)) = self.fault
            && may_fail
            && self.pushes.is_multiple_of(every)
            && let Some(socket) = self.users.get(user)
        {
            // It may be gone already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        if !may_fail || row.0 {
            self.write_bytes(user, &frame);
        } else if self.strikes(Fault::Lose) {
            self.hit = Some(here);
        } else if self.strikes(Fault::Repeat) {
            self.write_bytes(user, &frame);
            self.write_bytes(user, &frame);
            self.hit = Some(here);
        } else if self.strikes(Fault::Swap) {
            self.hit = Some(here.clone());
            self.held = Some((here, frame));
        } else if self.strikes(Fault::Alter) {
            let mut row = row.1;
            // The last of a field that comes twice counts.
            row.extend_from_slice(&[0x18, 7]);
            self.write_bytes(user, &encoded(0, ServerBody::Row(Row::Message(&row))));
            self.hit = Some(here);
        } else {
            self.write_bytes(user, &frame);
        }
    }

    /// Whether this fault is to happen now.
    fn strikes(&mut self, fault: Fault) -> bool {
        let pushes = self.pushes;
        self.fault
            .take_if(|(wanted, after)| *wanted == fault && pushes > *after)
            .is_some()
    }

    fn write(&mut self, user: &str, id: u64, body: ServerBody<'_>) {
        self.write_bytes(user, &encoded(id, body));
    }

    fn write_bytes(&mut self, user: &str, bytes: &[u8]) {
        if let Some(socket) = self.users.get_mut(user) {
            // A connection that was ended is no failure: its user comes back.
            let _ = socket.write_all(bytes);
        }
    }
}

fn hit(user: &str, conversation: &str, seq: u64) -> Hit {
    Hit {
        user: user.into(),
        conversation: conversation.into(),
        seq,
    }
}

fn as_row((is_event, row): &(bool, Vec<u8>)) -> Row<'_> {
    if *is_event {
        Row::Event(row)
    } else {
        Row::Message(row)
    }
}

fn encoded(id: u64, body: ServerBody<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    tcp::frame_with(&mut out, |out| {
        proto::encode_server(&ServerFrame { id, body }, out);
    });
    out
}
