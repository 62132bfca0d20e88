"""The five text traits, one module and one entry point each; declarations only, no handler."""
