pub mod frames;
pub mod http;
pub mod protobuf;
pub mod proxy;
pub mod rate;
pub mod sniff;
pub mod tcp;
pub mod websocket;
