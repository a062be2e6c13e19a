//! Programs and libraries that fetch, by the product that their user agent begins with.

/// First products of HTTP libraries and command line tools that the list of bots does not have, as
/// their documentation or source writes them by default.
const PRODUCTS: [&str; 26] = [
    "Boto3",
    "Bun",
    "Dart",
    "Deno",
    "Faraday",
    "GuzzleHttp",
    "Java",
    "Java-http-client",
    "PostmanRuntime",
    "PycURL",
    "Python",
    "ReactorNetty",
    "RestSharp",
    "Ruby",
    "Symfony",
    "Vert.x-WebClient",
    "akka-http",
    "aria2",
    "fasthttp",
    "go-resty",
    "insomnia",
    "libcurl",
    "node",
    "reqwest",
    "undici",
    "unirest-java",
];

/// Whether the first product of a user agent, which a version or a comment may follow, is a tool's.
pub(crate) fn is_tool(user_agent: &[u8]) -> bool {
    let end = user_agent.iter().position(|byte| matches!(byte, b'/' | b' ')).unwrap_or(user_agent.len());
    PRODUCTS.iter().any(|product| product.as_bytes() == &user_agent[..end])
}

#[cfg(test)]
mod tests {
    use super::is_tool;

    #[test]
    fn the_first_product_decides() {
        for tool in ["GuzzleHttp/7", "Java/17.0.1", "node", "Dart/3.5 (dart:io)", "Symfony HttpClient (Curl)"] {
            assert!(is_tool(tool.as_bytes()), "{tool}");
        }
        for other in ["", "-", "nodejs", "JavaFX/17", "Mozilla/5.0 (X11) Java/17.0.1", "java/17"] {
            assert!(!is_tool(other.as_bytes()), "{other}");
        }
    }
}
