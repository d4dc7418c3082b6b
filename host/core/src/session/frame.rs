//! The frames that travel between the parties of a session.

use super::terms::SessionTerms;
use crate::PartyIndex;
use crate::abort::SignedAbort;
use crate::acknowledgement::Acknowledgement;
use crate::ban::SignedBan;
use crate::certificate::{Certificate, Ready};
use crate::codec::{Malformed, Reader, Wire};
use crate::envelope::{Envelope, SignedEcho};
use crate::hello::SignedHello;
use crate::session::handshake::SignedHelloEcho;

/// One frame. Every kind but `Finished`, `EarlierHello` and `Bans` is signed by its sender. `Ready`, `Certificate` and `Acknowledgement` are about
/// what a session has made and are for the party's promise ([`promise`](crate::promise)), not for the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first frame of a party.
    Hello(SignedHello),
    /// All hellos that a party has.
    HelloEcho(SignedHelloEcho),
    /// A message of the component.
    Envelope(Envelope),
    /// The hash of a round's reliable broadcasts that a party has.
    Echo(SignedEcho),
    /// A party has ended the session.
    Abort(SignedAbort),
    /// A party promises its share.
    Ready(Ready),
    /// The promises of all parties.
    Certificate(Certificate),
    /// A party has activated its share.
    Acknowledgement(Acknowledgement),
    /// This party has its result and needs nothing more. It is not authenticated: a forged one only stops
    /// retransmissions, which a router could drop anyway.
    Finished(PartyIndex),
    /// A hello of the receiver from an earlier session, which shows it that its state was set back since.
    EarlierHello(SignedHello),
    /// Bans that the sender has decided on the account. Each is signed; the sender itself is not authenticated.
    Bans(Vec<SignedBan>),
}

impl Frame {
    /// Whether the frame is an envelope to this party or an echo, signed by the peer that it names.
    pub(super) fn is_signed_for(&self, terms: &SessionTerms) -> bool {
        let key = self.sender().and_then(|from| terms.key_of_peer(from));
        key.is_some_and(|key| match self {
            Self::Envelope(envelope) => envelope.header.to == terms.me && envelope.verify(key).is_ok(),
            Self::Echo(echo) => echo.verify(key).is_ok(),
            _ => false,
        })
    }

    /// How many bytes it takes while it waits for the hellos of a session: those of its payload.
    pub(super) fn waiting_bytes(&self) -> usize {
        match self {
            Self::Envelope(envelope) => envelope.payload.0.len(),
            // Echoes have a name and a hash of each signer.
            _ => 0,
        }
    }

    /// Whether it is about what a session has made, and not for the session itself.
    pub(super) fn is_about_promises(&self) -> bool {
        matches!(self, Self::Ready(_) | Self::Certificate(_) | Self::Acknowledgement(_))
    }

    /// The claimed sender; none for a certificate, which all parties have signed, and for a hello that is shown to its signer.
    pub(super) fn sender(&self) -> Option<PartyIndex> {
        match self {
            Self::Hello(hello) => Some(hello.hello.index),
            Self::HelloEcho(echo) => Some(echo.sender()),
            Self::Envelope(envelope) => Some(envelope.header.from),
            Self::Echo(echo) => Some(echo.echo.by),
            Self::Abort(abort) => Some(abort.notice.by),
            Self::Ready(ready) => Some(ready.by),
            Self::Acknowledgement(acknowledgement) => Some(acknowledgement.by),
            Self::Finished(by) => Some(*by),
            Self::Certificate(_) | Self::EarlierHello(_) | Self::Bans(_) => None,
        }
    }
}

impl Wire for Frame {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => {
                1_u8.put(out);
                hello.put(out);
            }
            Self::HelloEcho(echo) => {
                2_u8.put(out);
                echo.put(out);
            }
            Self::Envelope(envelope) => {
                3_u8.put(out);
                envelope.put(out);
            }
            Self::Echo(echo) => {
                4_u8.put(out);
                echo.put(out);
            }
            Self::Abort(abort) => {
                5_u8.put(out);
                abort.put(out);
            }
            Self::Ready(ready) => {
                6_u8.put(out);
                ready.put(out);
            }
            Self::Certificate(certificate) => {
                7_u8.put(out);
                certificate.put(out);
            }
            Self::Acknowledgement(acknowledgement) => {
                8_u8.put(out);
                acknowledgement.put(out);
            }
            Self::Finished(by) => {
                9_u8.put(out);
                by.put(out);
            }
            Self::EarlierHello(hello) => {
                10_u8.put(out);
                hello.put(out);
            }
            Self::Bans(bans) => {
                11_u8.put(out);
                bans.put(out);
            }
        }
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(input)? {
            1 => Wire::take(input).map(Self::Hello),
            2 => Wire::take(input).map(Self::HelloEcho),
            3 => Wire::take(input).map(Self::Envelope),
            4 => Wire::take(input).map(Self::Echo),
            5 => Wire::take(input).map(Self::Abort),
            6 => Wire::take(input).map(Self::Ready),
            7 => Wire::take(input).map(Self::Certificate),
            8 => Wire::take(input).map(Self::Acknowledgement),
            9 => Wire::take(input).map(Self::Finished),
            10 => Wire::take(input).map(Self::EarlierHello),
            11 => Wire::take(input).map(Self::Bans),
            _ => Err(Malformed),
        }
    }
}
