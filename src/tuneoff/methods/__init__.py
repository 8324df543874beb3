"""The search methods, one module per framework. A framework is imported only when a method is built."""
