//! Splitting a query finds what a plain split finds, and every way of decoding gives the same
//! bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pixel_engine::log::query::{Query, QueryEncoding};

fuzz_target!(|text: &[u8]| {
    let expected: Vec<_> = text.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).collect();
    for encoding in [QueryEncoding::Twice, QueryEncoding::Once] {
        let parameters: Vec<_> = Query::with_encoding(text, encoding).collect();
        assert_eq!(parameters.len(), expected.len());
        for (parameter, pair) in parameters.iter().zip(&expected) {
            let mut halves = pair.splitn(2, |&byte| byte == b'=');
            assert_eq!(Some(parameter.name), halves.next());
            assert_eq!(parameter.value, halves.next());
            let name = parameter.name_decoded();
            assert!(parameter.is_named(&name));
            let (mut into_name, mut into_value) = (Vec::new(), Vec::new());
            parameter.decode_name_into(&mut into_name);
            parameter.decode_value_into(&mut into_value);
            assert_eq!(*name, *into_name);
            assert_eq!(*parameter.value_decoded().unwrap_or_default(), *into_value);
        }
    }
});
