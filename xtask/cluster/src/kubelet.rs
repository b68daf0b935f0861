//! The cluster's own kubelet: makes a node's Pod objects into network namespaces with processes.
