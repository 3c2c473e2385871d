//! Frames on a serial line (RFC 1055).

const END: u8 = 0o300;
const ESCAPE: u8 = 0o333;
const ESCAPED_END: u8 = 0o334;
const ESCAPED_ESCAPE: u8 = 0o335;

/// Gives `emit` the octets that carry `packet`: an end in front as well, which ends whatever noise there was.
pub fn send(packet: &[u8], mut emit: impl FnMut(u8)) {
    emit(END);
    for octet in packet {
        match *octet {
            END => {
                emit(ESCAPE);
                emit(ESCAPED_END);
            }
            ESCAPE => {
                emit(ESCAPE);
                emit(ESCAPED_ESCAPE);
            }
            plain => emit(plain),
        }
    }
    emit(END);
}

/// Collects octets of the line until a frame is whole. A frame longer than the [`MTU`](crate::MTU), and one with a broken
/// escape, is left out.
#[derive(Default)]
pub struct Receiver {
    frame: heapless::Vec<u8, { crate::MTU }>,
    /// The frame in `frame` was handed out.
    taken: bool,
    escaped: bool,
    broken: bool,
}

impl Receiver {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            frame: heapless::Vec::new(),
            taken: false,
            escaped: false,
            broken: false,
        }
    }

    /// Takes the next octet; the frame, if it is the last one of a frame.
    pub fn push(&mut self, octet: u8) -> Option<&mut [u8]> {
        if self.taken {
            self.clear();
        }
        if octet == END {
            if self.broken || self.escaped || self.frame.is_empty() {
                self.clear();
                return None;
            }
            self.taken = true;
            return Some(&mut self.frame);
        }
        let octet = match (core::mem::take(&mut self.escaped), octet) {
            (false, ESCAPE) => {
                self.escaped = true;
                return None;
            }
            (false, plain) => plain,
            (true, ESCAPED_END) => END,
            (true, ESCAPED_ESCAPE) => ESCAPE,
            (true, _) => {
                self.broken = true;
                return None;
            }
        };
        self.broken |= self.frame.push(octet).is_err();
        None
    }

    fn clear(&mut self) {
        self.frame.clear();
        self.taken = false;
        self.escaped = false;
        self.broken = false;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{vec, vec::Vec};

    fn line(packet: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        send(packet, |octet| octets.push(octet));
        octets
    }

    fn receive(receiver: &mut Receiver, line: &[u8]) -> Vec<Vec<u8>> {
        line.iter()
            .filter_map(|octet| receiver.push(*octet).map(|frame| frame.to_vec()))
            .collect()
    }

    #[test]
    fn frames_survive_the_line() {
        let all: Vec<u8> = (0..=255).collect();
        let mut receiver = Receiver::new();
        for packet in [&all[..], &[END], &[ESCAPE, END], &[ESCAPED_END; 3]] {
            let octets = line(packet);
            assert_eq!(receive(&mut receiver, &octets), [packet.to_vec()]);
            assert_eq!(octets.iter().filter(|octet| **octet == END).count(), 2);
        }
    }

    #[test]
    fn noise_costs_no_frame_but_its_own() {
        let mut octets = vec![1, 2, ESCAPE];
        octets.extend(line(b"one"));
        octets.extend([END, ESCAPE, 7, 8, END]);
        octets.extend(line(&[9; crate::MTU + 1]));
        octets.extend(line(&[5; crate::MTU]));
        let frames = receive(&mut Receiver::new(), &octets);
        assert_eq!(frames, [b"one".to_vec(), vec![5; crate::MTU]]);
    }
}
