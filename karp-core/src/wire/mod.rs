//! Messages as octets and back.
