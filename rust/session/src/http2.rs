//! HTTP/2: the connection's frames, and requests that are streams of it.
//!
//! A connection's session hands on what happens on its streams ([`Session::carry`]); each stream has a
//! session of its own, which begins as an [`Exchange`].

use crate::Encoding;
use crate::http::{Refused, judge, refuse, serve};
use crate::session::{Ended, Input, PATH, Policy, Session, Stage};
use imfast_wire::frames::codes::Code;
use imfast_wire::http::{self, Accept, Answer, Answering, Refusal, Site, Version};
use imfast_wire::http2::{Connection, Event, Head, Limits};
use std::net::IpAddr;

/// A request whose body is perhaps still to come.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Absent: it was above a limit.
    head: Option<Box<Head>>,
    /// The body is complete.
    ended: bool,
    judged: bool,
    /// It is refused once it has ended: until then it may turn out to be no request at all.
    refused: Option<(Answering, Refused)>,
    /// It was answered or handed on.
    over: bool,
}

/// What all answers of HTTP/2 have in common.
const ANSWERING: Answering = Answering {
    last: true,
    version: Version::Http2,
    head: false,
    shared_with: 0,
};

impl Policy {
    pub(crate) fn http2(&self) -> Limits {
        Limits {
            head: self.http,
            streams: self.http2_streams,
        }
    }
}

impl Session {
    /// A stream of an HTTP/2 connection on which a request began.
    pub fn exchange(head: Option<Box<Head>>, ended: bool) -> Self {
        let exchange = Exchange {
            head,
            ended,
            judged: false,
            refused: None,
            over: false,
        };
        Self {
            stage: Stage::Exchange(Box::new(exchange)),
            encoding: Encoding::Http,
            awaiting: false,
        }
    }

    /// Reads the next frame of an HTTP/2 connection; the number of bytes it took comes first.
    pub fn carry<'a>(
        &mut self,
        input: &'a mut [u8],
        policy: &Policy,
        out: &mut Vec<u8>,
    ) -> (usize, Event<'a>) {
        match &mut self.stage {
            Stage::Http2(connection) => {
                connection.receive(input, &policy.http2(), policy.site.wall_ms, out)
            }
            _ => (input.len(), Event::Handled),
        }
    }

    /// The HTTP/2 connection, where this is one.
    pub fn http2(&mut self) -> Option<&mut Connection> {
        match &mut self.stage {
            Stage::Http2(connection) => Some(connection),
            _ => None,
        }
    }

    /// The peer has ended its side of a stream. Returns whether what it sent is a request's body.
    pub fn end_input(&mut self) -> bool {
        match &mut self.stage {
            Stage::Exchange(exchange) => {
                exchange.ended = true;
                true
            }
            _ => false,
        }
    }

    /// Whether [`Session::receive`] has something to do without any bytes.
    pub fn is_due(&self) -> bool {
        match &self.stage {
            Stage::Exchange(exchange) => !exchange.over && (exchange.ended || !exchange.judged),
            _ => false,
        }
    }
}

impl Exchange {
    /// Whether it asks for the WebSocket.
    pub(crate) fn is_websocket(&self) -> bool {
        let asks =
            |head: &Head| head.protocol() == Some("websocket") && head.request().path == PATH;
        !self.judged && self.head.as_deref().is_some_and(asks)
    }

    /// Agrees on a WebSocket.
    pub(crate) fn connect(
        &mut self,
        subprotocols: &[&'static str],
        policy: &Policy,
        out: &mut Vec<u8>,
    ) -> Result<(Accept<'static>, Option<IpAddr>), Ended> {
        self.judged = true;
        self.over = true;
        let Some(head) = &self.head else {
            return Err(Ended::Refused);
        };
        let request = head.request();
        let site = &policy.site;
        let accept = http::websocket_connect(&request, subprotocols, &site.origins);
        let accept = accept.and_then(|mut accept| {
            if policy.compression {
                accept.agree_on_deflate(&request)?;
            }
            Ok(accept)
        });
        match accept {
            Ok(accept) => {
                let deflate = accept.deflate.map(|deflate| deflate.to_string());
                let protocol = accept
                    .subprotocol
                    .map(|name| ("sec-websocket-protocol", name));
                let extensions = deflate
                    .as_deref()
                    .map(|agreed| ("sec-websocket-extensions", agreed));
                let headers: Vec<_> = protocol.into_iter().chain(extensions).collect();
                http::begin_answer(out, site, ANSWERING, 200, &headers);
                Ok((accept, policy.client_of(&request)))
            }
            Err(rejection) => {
                let answer = Answer {
                    status: rejection.status,
                    content_type: "text/plain; charset=utf-8",
                    headers: &[],
                    body: rejection.detail.as_bytes(),
                };
                http::write_answer(out, site, ANSWERING, &answer);
                Err(Ended::Refused)
            }
        }
    }

    /// Serves the request once its body is complete, or refuses it before.
    pub(crate) fn receive<'a>(
        &'a mut self,
        input: &'a mut [u8],
        policy: &Policy,
        out: &mut Vec<u8>,
    ) -> Input<'a> {
        let Some(head) = self.head.as_deref().filter(|_| !self.over) else {
            if !std::mem::replace(&mut self.over, true) {
                let refusal = Refusal::new(431, "the head is above a limit");
                refuse(out, &policy.site, ANSWERING, &refusal.into());
                return Input::Ended(Ended::Refused);
            }
            let consumed = input.len();
            return Input::Handled { consumed };
        };
        let request = head.request();
        if !std::mem::replace(&mut self.judged, true)
            && let Err(refused) = judge(&request, policy)
        {
            self.refused = Some(refused);
        }
        if let Some((answering, refused)) = &self.refused {
            // Who waits for a word, or has too much to say, need not say it.
            let waits = request.headers.get("expect").is_some() || refused.status == 413;
            if !self.ended && !waits {
                return Input::Partial { kept: 0 };
            }
            self.over = true;
            refuse(out, &policy.site, *answering, refused);
            return Input::Ended(Ended::Refused);
        }
        if input.len() > policy.message_bytes_max {
            self.over = true;
            let refusal = Refusal::new(413, "the body is above the limit");
            refuse(out, &policy.site, ANSWERING, &refusal.into());
            return Input::Ended(Ended::Refused);
        }
        if !self.ended {
            // Until it ends nothing is to be done but to see that it is not too long.
            let needed = policy.message_bytes_max + 1;
            return Input::Incomplete { needed };
        }
        self.over = true;
        let consumed = input.len();
        serve(&request, input, consumed, policy, out)
    }

    /// The last words, where nothing else is being answered.
    pub(crate) fn close(&self, code: &'static Code, site: &Site, out: &mut Vec<u8>) {
        if !self.over {
            let refused = Refused {
                status: code.http,
                code,
                detail: code.message,
                headers: &[],
            };
            refuse(out, site, ANSWERING, &refused);
        }
    }
}
