//! What holds of every frame and of any bytes.

use std::borrow::Cow;

use imfast_wire::frames::client::{
    Body, ClientFrame, Group, Header, Presence, Send, Target, Verb, write_edited_body,
};
use imfast_wire::frames::row::{MessageView, write_row_prefix};
use imfast_wire::frames::server::{
    Limits, List, Member, Row, ServerBody, ServerFrame, Status, Summary,
};
use imfast_wire::frames::{MAX_NUMBER, codes, json, proto};
use imfast_wire::protobuf::{put_bytes, put_delimited, put_message, put_number};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Cow<'static, str>> {
    "\\PC{0,12}|[\\x00-\\x7f]{0,12}".prop_map(Cow::Owned)
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..100u64, 0..=MAX_NUMBER]
}

fn page_limit() -> impl Strategy<Value = Option<u32>> {
    option::of(1..=u32::MAX)
}

fn json_body() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "\\PC{0,8}".prop_map(|text| serde_json::to_string(&text).expect("JSON")),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            vec(inner, 0..3).prop_map(|items| {
                let members = items.iter().enumerate();
                let members: Vec<_> = members
                    .map(|(n, item)| format!("\"k{n}\":{item}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn body() -> impl Strategy<Value = Body<'static>> {
    prop_oneof![
        json_body().prop_map(|json| Body::Json(json.into())),
        text().prop_map(Body::Text),
        (vec(any::<u8>(), 0..20), text()).prop_map(|(data, content_type)| Body::Bytes {
            data: data.into(),
            content_type
        }),
    ]
}

fn headers() -> impl Strategy<Value = Vec<Header<'static>>> {
    proptest::collection::btree_map("\\PC{1,6}", text(), 0..4).prop_map(|headers| {
        headers
            .into_iter()
            .map(|(name, value)| Header {
                name: name.into(),
                value,
            })
            .collect()
    })
}

fn send() -> impl Strategy<Value = Send<'static>> {
    let target = prop_oneof![
        text().prop_map(Target::User),
        text().prop_map(Target::Group),
        text().prop_map(Target::Conversation),
    ];
    (
        target,
        text(),
        body(),
        number(),
        any::<bool>(),
        any::<bool>(),
        headers(),
    )
        .prop_map(|(to, key, body, ttl_ms, silent, ephemeral, headers)| Send {
            to,
            key,
            body,
            ttl_ms,
            silent,
            ephemeral,
            headers,
        })
}

fn group() -> impl Strategy<Value = Group<'static>> {
    let users = || vec(text(), 0..4);
    prop_oneof![
        (text(), text(), users(), any::<bool>()).prop_map(|(key, title, members, open)| {
            Group::Create {
                key,
                title,
                members,
                open,
            }
        }),
        (text(), text()).prop_map(|(conversation, key)| Group::Join { conversation, key }),
        (text(), text()).prop_map(|(conversation, key)| Group::Leave { conversation, key }),
        (text(), text(), users()).prop_map(|(conversation, key, users)| Group::Add {
            conversation,
            key,
            users
        }),
        (text(), text(), users()).prop_map(|(conversation, key, users)| Group::Remove {
            conversation,
            key,
            users
        }),
        (text(), text(), users(), text()).prop_map(|(conversation, key, users, role)| {
            Group::Role {
                conversation,
                key,
                users,
                role,
            }
        }),
        (text(), text(), users()).prop_map(|(conversation, key, users)| Group::Mute {
            conversation,
            key,
            users
        }),
        (text(), text(), users()).prop_map(|(conversation, key, users)| Group::Unmute {
            conversation,
            key,
            users
        }),
        (
            text(),
            text(),
            option::of(text()),
            option::of(any::<bool>())
        )
            .prop_map(|(conversation, key, title, open)| Group::Settings {
                conversation,
                key,
                title,
                open
            }),
        (text(), text(), page_limit()).prop_map(|(conversation, after, limit)| Group::Members {
            conversation,
            after,
            limit
        }),
    ]
}

fn change() -> impl Strategy<Value = Verb<'static>> {
    let of = || (text(), number(), text());
    prop_oneof![
        of().prop_map(|(conversation, seq, key)| Verb::Recall {
            conversation,
            seq,
            key
        }),
        (of(), body()).prop_map(|((conversation, seq, key), body)| Verb::Edit {
            conversation,
            seq,
            key,
            body
        }),
        (of(), text(), any::<bool>()).prop_map(|((conversation, seq, key), reaction, remove)| {
            Verb::React {
                conversation,
                seq,
                key,
                reaction,
                remove,
            }
        }),
    ]
}

fn presence() -> impl Strategy<Value = Presence<'static>> {
    let users = || vec(text(), 0..4);
    prop_oneof![
        users().prop_map(|users| Presence::Subscribe { users }),
        users().prop_map(|users| Presence::Unsubscribe { users }),
        text().prop_map(|status| Presence::Set { status }),
    ]
}

fn verb() -> impl Strategy<Value = Verb<'static>> {
    let ends = prop_oneof![
        Just((None, None)),
        number().prop_map(|before| (Some(before), None)),
        number().prop_map(|after| (None, Some(after))),
    ];
    prop_oneof![
        (text(), text(), text()).prop_map(|(token, device, sync)| Verb::Connect {
            token,
            device,
            sync
        }),
        text().prop_map(|token| Verb::Refresh { token }),
        send().prop_map(Verb::Send),
        (text(), number()).prop_map(|(conversation, seq)| Verb::Ack { conversation, seq }),
        (text(), number()).prop_map(|(conversation, seq)| Verb::Read { conversation, seq }),
        (text(), ends, page_limit()).prop_map(|(conversation, (before, after), limit)| {
            Verb::History {
                conversation,
                before,
                after,
                limit,
            }
        }),
        (text(), page_limit()).prop_map(|(after, limit)| Verb::Conversations { after, limit }),
        group().prop_map(Verb::Group),
        change(),
        presence().prop_map(Verb::Presence),
        (text(), number()).prop_map(|(conversation, seq)| Verb::Receipts { conversation, seq }),
        Just(Verb::Ping),
        Just(Verb::Unknown),
    ]
}

fn client_frame() -> impl Strategy<Value = ClientFrame<'static>> {
    (number(), verb()).prop_map(|(id, verb)| ClientFrame { id, verb })
}

/// A row's bytes, and whether it is an event.
fn row() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let prefix = || (text(), number(), any::<u64>(), text(), number());
    prop_oneof![
        (prefix(), send(), number()).prop_map(
            |((conversation, seq, id, from, time), send, edited_seq)| {
                let mut row = Vec::new();
                write_row_prefix(&mut row, &conversation, seq, id, &from, time);
                send.write_content(&mut row);
                put_number(&mut row, 14, edited_seq);
                (false, row)
            }
        ),
        (
            prefix(),
            option::of(body()),
            text(),
            text(),
            any::<bool>(),
            number()
        )
            .prop_map(
                |((conversation, seq, id, by, time), body, reaction, role, flag, number)| {
                    let mut row = Vec::new();
                    write_row_prefix(&mut row, &conversation, seq, id, &by, time);
                    put_bytes(&mut row, 6, b"later");
                    put_number(&mut row, 9, number);
                    if let Some(body) = &body {
                        write_edited_body(&mut row, body);
                    }
                    put_bytes(&mut row, 14, reaction.as_bytes());
                    put_number(&mut row, 15, u64::from(flag));
                    put_bytes(&mut row, 16, role.as_bytes());
                    put_number(&mut row, 17, u64::from(flag));
                    put_number(&mut row, 18, number);
                    (true, row)
                }
            ),
        (prefix(), text(), vec(text(), 0..4), text()).prop_map(
            |((conversation, seq, id, by, time), kind, users, title)| {
                let mut row = Vec::new();
                write_row_prefix(&mut row, &conversation, seq, id, &by, time);
                put_bytes(&mut row, 6, kind.as_bytes());
                for user in users {
                    put_message(&mut row, 7, user.as_bytes());
                }
                put_bytes(&mut row, 8, title.as_bytes());
                (true, row)
            }
        ),
    ]
}

fn as_row((event, bytes): &(bool, Vec<u8>)) -> Row<'_> {
    if *event {
        Row::Event(bytes)
    } else {
        Row::Message(bytes)
    }
}

fn status() -> impl Strategy<Value = Status<'static>> {
    (text(), text(), number()).prop_map(|(user, status, last_seen_ms)| Status {
        user,
        status,
        last_seen_ms,
    })
}

/// Bodies without rows.
fn plain_body() -> impl Strategy<Value = ServerBody<'static>> {
    let member = (text(), text(), number()).prop_map(|(user, role, joined_seq)| Member {
        user,
        role,
        joined_seq,
    });
    let limits =
        (number(), number(), number(), number()).prop_map(|(body, frame, members, page)| Limits {
            body_bytes: body,
            frame_bytes: frame,
            members_per_call: members,
            page_items: page,
        });
    prop_oneof![
        (text(), text(), text(), number(), number(), limits).prop_map(
            |(user, session, server, heartbeat_ms, server_time_ms, limits)| {
                ServerBody::Connected {
                    user,
                    session,
                    server,
                    heartbeat_ms,
                    server_time_ms,
                    limits,
                }
            }
        ),
        number().prop_map(|expires_at_ms| ServerBody::Refreshed { expires_at_ms }),
        (
            text(),
            number(),
            any::<u64>(),
            any::<u16>(),
            1..=u64::MAX,
            number(),
            any::<bool>()
        )
            .prop_map(
                |(conversation, seq, message_id, partition, position, timestamp_ms, duplicate)| {
                    ServerBody::Sent {
                        conversation,
                        seq,
                        message_id,
                        partition,
                        position,
                        timestamp_ms,
                        duplicate,
                    }
                }
            ),
        Just(ServerBody::Acked),
        (text(), number(), number(), number(), number()).prop_map(
            |(conversation, seq, delivered, read, members)| ServerBody::Receipts {
                conversation,
                seq,
                delivered,
                read,
                members,
            }
        ),
        (text(), text(), number(), number()).prop_map(
            |(conversation, user, delivered_seq, read_seq)| ServerBody::Receipt {
                conversation,
                user,
                delivered_seq,
                read_seq,
            }
        ),
        vec(status(), 0..4).prop_map(|items| ServerBody::Presence {
            items: items.into()
        }),
        (text(), number()).prop_map(|(conversation, seq)| ServerBody::Group {
            conversation,
            seq,
            members: List::default(),
            more: false,
        }),
        (text(), vec(member, 0..4), any::<bool>()).prop_map(|(conversation, members, more)| {
            ServerBody::Group {
                conversation,
                seq: 0,
                members: members.into(),
                more,
            }
        }),
        number().prop_map(|server_time_ms| ServerBody::Pong { server_time_ms }),
        (0..codes::ALL.len(), number(), text()).prop_map(|(index, after, text)| ServerBody::error(
            codes::ALL[index],
            after,
            text
        )),
        text().prop_map(|token| ServerBody::Checkpoint { token }),
        text().prop_map(|token| ServerBody::CaughtUp { token }),
        number().prop_map(|expires_at_ms| ServerBody::TokenExpiring { expires_at_ms }),
        text().prop_map(|reason| ServerBody::Kicked { reason }),
        number().prop_map(|reconnect_after_ms| ServerBody::GoAway { reconnect_after_ms }),
        (text(), number(), number()).prop_map(|(conversation, from_seq, to_seq)| {
            ServerBody::Expired {
                conversation,
                from_seq,
                to_seq,
            }
        }),
        Just(ServerBody::Unknown),
    ]
}

/// Both encodings of `frame` decode to `frame`.
fn server_frame_comes_back(frame: &ServerFrame<'_>) {
    let mut bytes = Vec::new();
    proto::encode_server(frame, &mut bytes);
    assert_eq!(proto::decode_server(&bytes).as_ref(), Ok(frame));
    let mut text = Vec::new();
    json::encode_server(frame, &mut text).expect("rows are valid");
    let mut rows = Vec::new();
    assert_eq!(json::decode_server(&text, &mut rows).as_ref(), Ok(frame));
}

proptest! {
    #[test]
    fn client_frames_come_back_in_both_encodings(frame in client_frame()) {
        let mut bytes = Vec::new();
        proto::encode_client(&frame, &mut bytes);
        let decoded = proto::decode_client(&bytes);
        prop_assert_eq!(decoded.as_ref(), Ok(&frame));
        let mut text = Vec::new();
        json::encode_client(&frame, &mut text);
        let decoded = json::decode_client(&text);
        prop_assert_eq!(decoded.as_ref(), Ok(&frame));
    }

    #[test]
    fn content_is_the_same_whichever_encoding_a_send_came_in(send in send()) {
        let frame = ClientFrame { id: 1, verb: Verb::Send(send) };
        let (mut text, mut bytes) = (Vec::new(), Vec::new());
        json::encode_client(&frame, &mut text);
        proto::encode_client(&frame, &mut bytes);
        let contents = [json::decode_client(&text), proto::decode_client(&bytes)].map(|frame| {
            let Ok(ClientFrame { verb: Verb::Send(send), .. }) = frame else {
                panic!("a send");
            };
            let mut content = Vec::new();
            send.write_content(&mut content);
            content
        });
        prop_assert_eq!(&contents[0], &contents[1]);
    }

    #[test]
    fn server_frames_come_back_in_both_encodings(id in number(), body in plain_body()) {
        server_frame_comes_back(&ServerFrame { id, body });
    }

    #[test]
    fn rows_come_back_in_both_encodings(
        id in number(),
        rows in vec(row(), 0..4),
        more: bool,
        summary in (text(), text(), text(), text(), (number(), number(), number(), number(), number())),
    ) {
        let items: Vec<Row<'_>> = rows.iter().map(as_row).collect();
        for row in &items {
            server_frame_comes_back(&ServerFrame::push(ServerBody::Row(*row)));
        }
        let (conversation, kind, title, peer, numbers) = summary;
        let (seq, joined_seq, read_seq, acked_seq, unread) = numbers;
        let summaries = [items.first().copied(), None].map(|last| Summary {
            conversation: conversation.clone(),
            kind: kind.clone(),
            title: title.clone(),
            peer: peer.clone(),
            seq,
            joined_seq,
            read_seq,
            acked_seq,
            unread,
            last,
        });
        let body = ServerBody::Conversations { items: summaries[..].into(), more };
        server_frame_comes_back(&ServerFrame { id, body });
        let body = ServerBody::History { items: (&items).into(), more };
        server_frame_comes_back(&ServerFrame { id, body });
    }

    #[test]
    fn several_frames_of_one_message_come_back_each(
        frames in vec(client_frame(), 0..5),
        space in "[ \n\t]{0,3}",
    ) {
        let (mut text, mut bytes) = (Vec::new(), Vec::new());
        let mut ends = Vec::new();
        for frame in &frames {
            json::encode_client(frame, &mut text);
            ends.push(text.len());
            text.extend_from_slice(space.as_bytes());
            put_delimited(&mut bytes, |out| proto::encode_client(frame, out));
        }
        let text = String::from_utf8(text).expect("UTF-8");
        let read: Vec<_> = json::values(&text).map(|(frame, _)| frame.expect("valid")).collect();
        prop_assert_eq!(&read, &frames);
        let read: Vec<_> = json::values(&text).map(|(_, end)| end).collect();
        prop_assert_eq!(read, ends);
        let read: Vec<_> = proto::values(&bytes).map(|(frame, _)| frame.expect("valid")).collect();
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error_within_them(bytes in vec(any::<u8>(), 0..64)) {
        any_input(&bytes);
    }

    #[test]
    fn damaged_frames_are_a_frame_or_an_error_within_them(
        frame in client_frame(),
        row in row(),
        at: prop::sample::Index,
        byte: u8,
        cut: bool,
    ) {
        let (mut text, mut bytes) = (Vec::new(), Vec::new());
        json::encode_client(&frame, &mut text);
        proto::encode_client(&frame, &mut bytes);
        let (mut server_text, mut server_bytes) = (Vec::new(), Vec::new());
        let push = ServerFrame::push(ServerBody::Row(as_row(&row)));
        json::encode_server(&push, &mut server_text).expect("valid");
        proto::encode_server(&push, &mut server_bytes);
        for mut input in [text, bytes, server_text, server_bytes] {
            if input.is_empty() {
                continue;
            }
            let at = at.index(input.len());
            if cut {
                input.truncate(at);
            } else {
                input[at] = byte;
            }
            any_input(&input);
        }
    }
}

/// Every decoder takes `input` without a panic, and its errors point into it.
fn any_input(input: &[u8]) {
    if let Err(error) = proto::decode_client(input) {
        assert!(error.offset <= input.len(), "{error}");
    }
    if let Err(error) = json::decode_client(input) {
        assert!(error.offset <= input.len(), "{error}");
    }
    for (frame, end) in proto::values(input) {
        assert!(end <= input.len());
        if let Err(error) = frame {
            assert!(error.offset <= input.len(), "{error}");
        }
    }
    if let Ok(text) = std::str::from_utf8(input) {
        for (frame, end) in json::values(text) {
            assert!(end <= input.len());
            if let Err(error) = frame {
                assert!(error.offset <= input.len(), "{error}");
            }
        }
    }
    let mut rows = Vec::new();
    let _ = json::decode_server(input, &mut rows);
    if let Ok(frame) = proto::decode_server(input) {
        let mut out = b"before".to_vec();
        if json::encode_server(&frame, &mut out).is_err() {
            assert_eq!(out, b"before", "a failed frame leaves nothing behind");
        }
    }
    if let Ok(view) = MessageView::parse(input) {
        assert_eq!(view.headers().next().is_some(), view.has_headers());
    }
}
