//! Network namespaces as nodes, pods and clients.
